"""The SBOM of an image is what CycloneDX's schema allows, and names what is installed."""

import json

from cyclonedx.validation.json import JsonStrictValidator

from ops.sbom import SCHEMA, describe

PACKAGES = ["deb debian-13 libc6 2.41-12+deb13u1 amd64", "pypi - Jinja2 3.1.6 -", "pypi - dbt_location 0.1.0 -"]


def test_it_is_what_the_schema_allows() -> None:
    assert JsonStrictValidator(SCHEMA).validate_str(describe("dbt_location:local", PACKAGES)) is None


def test_it_names_the_image_and_every_package_of_debian_and_of_python() -> None:
    bom = json.loads(describe("dbt_location:local", PACKAGES))
    assert bom["metadata"]["component"]["name"] == "dbt_location:local"
    assert {component["purl"] for component in bom["components"]} == {
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13",
        "pkg:pypi/dbt-location@0.1.0",
        "pkg:pypi/jinja2@3.1.6",
    }
