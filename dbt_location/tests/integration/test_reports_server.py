"""What the server of the reports tells browsers; runs write the pages, and a browser may reach the webserver."""

from pathlib import Path

CONFIGURATION = Path(__file__).resolve().parents[2] / "reports/nginx.conf"


def test_a_page_of_the_reports_may_load_send_and_lead_to_nothing_by_itself() -> None:
    (policy,) = [line for line in CONFIGURATION.read_text().splitlines() if "default-src" in line]
    directives = {part.strip() for part in policy.split('"')[1].split(";")}
    # Without `allow-` a sandbox stops scripts, forms and <meta http-equiv="refresh">, which no other directive stops.
    assert {"default-src 'none'", "form-action 'none'", "sandbox"} <= directives
