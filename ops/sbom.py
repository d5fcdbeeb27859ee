"""Writes the packages in the images of the stack, of Debian and of Python, as CycloneDX SBOMs.

A separate command, because only developers and CI have its library: python -m ops.sbom
"""

import sys
from collections.abc import Iterable
from typing import Annotated

import typer
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from ops.command import ROOT, OpsError, inspect, log, run
from ops.locations import LOCATIONS, check_exists, tag_variable

FOLDER = ROOT / "sbom"
SCHEMA = SchemaVersion.V1_6
# Prints a line for each package: its kind, name and version, and the architecture of a Debian package.
_LIST = r"""
. /etc/os-release
dpkg-query --show --showformat "deb $ID-$VERSION_ID \${Package} \${Version} \${Architecture}\n"
find / -xdev -path '*.dist-info/METADATA' -exec awk -F ': ' '
  { sub(/\r$/, "") } /^$/ { exit } $1 == "Name" { name = $2 } $1 == "Version" { version = $2 }
  END { print "pypi - " name " " version " -" }' {} \;
"""


def sbom(
    name: Annotated[str, typer.Argument(help="Only the image of this location.")] = "",
    tag: Annotated[
        str, typer.Option(help="Tag of the images; by default that of the stack, or `check` with NAME.")
    ] = "",
) -> None:
    """Write an SBOM of each image of the stack into sbom/."""
    if name:
        check_exists("NAME", name)
        images = [f"{name}:{tag or 'check'}"]
    else:
        images = run("docker", "compose", "--profile", "sample", "config", "--images", env=_tags(tag)).split()
    FOLDER.mkdir(exist_ok=True)
    for image in sorted(set(images)):
        packages = packages_of(image)
        path = FOLDER / f"{image.partition('@')[0].rpartition('/')[2].partition(':')[0]}.cdx.json"
        path.write_text(describe(image, packages))
        log(f"{path.relative_to(ROOT)}: {len(packages)} packages of {image}")


def _tags(tag: str) -> dict[str, str]:
    variables = (*map(tag_variable, LOCATIONS), "REPORTS_TAG", "PLATFORM_TAG")
    return dict.fromkeys(variables, tag) if tag else {}


def packages_of(image: str) -> list[str]:
    """What is installed in an image, as lines of kind, distribution, name, version and architecture."""
    if inspect("image", image) is None:
        raise OpsError(f"There is no image {image} here. Build the images first: docker compose build")
    start = ("docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh")
    return sorted(set(run(*start, image, "-c", _LIST).splitlines()))


def describe(image: str, packages: Iterable[str]) -> str:
    """The SBOM of an image with these packages (lines of ``packages_of``), as JSON."""
    bom = Bom()
    whole = Component(name=image, type=ComponentType.CONTAINER, bom_ref=image)
    bom.metadata.component = whole
    for line in packages:
        kind, distribution, name, version, architecture = line.split(" ")
        vendor = distribution.partition("-")[0] if kind == "deb" else None
        qualifiers = {"arch": architecture, "distro": distribution} if kind == "deb" else {}
        url = PackageURL(kind, vendor, name, version, qualifiers)
        bom.components.add(Component(name=name, version=version, purl=url, bom_ref=url.to_string()))
    bom.register_dependency(whole, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=2) + "\n"


if __name__ == "__main__":
    try:
        typer.run(sbom)
    except OpsError as error:
        sys.exit(str(error))
