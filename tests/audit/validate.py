"""Judges audit reports with readers that are not ours: report.json, report.xml (XCCDF), report.cdx.json, report.html.

usage: validate.py DIR
"""

import html.parser
import json
import pathlib
import sys

import jsonschema
import lxml.etree
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
XSD = pathlib.Path("/usr/share/openscap/schemas/xccdf/1.2/xccdf_1.2.xsd")
XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
VOID = {"meta", "br"}


class Balanced(html.parser.HTMLParser):
    """Every tag is closed, in order, and nothing but the page's own kinds of tags is there."""

    KNOWN = {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "br", "small", "b", "i", "details", "summary",
        "span", "ul", "li", "code",
    }

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = []

    def handle_starttag(self, tag, attrs):
        assert tag in self.KNOWN, tag
        assert all(name in {"class", "charset", "content", "http-equiv", "lang", "name", "open"} for name, _ in attrs), attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


def check_json(folder):
    report = json.loads((folder / "report.json").read_bytes())
    schema = json.loads((ROOT / "docs/audit.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(report)
    counted = {name: 0 for name in report["counts"]}
    for rule in report["rules"]:
        counted[rule["verdict"]] += 1
    assert counted == report["counts"], counted
    if report["counts"]["unknown"] or report["counts"]["error"]:
        assert report["verdict"] != "pass"
    return report


def check_xccdf(folder, report):
    if not XSD.exists():
        sys.exit(f"{XSD} is missing: Debian's package openscap-common")
    schema = lxml.etree.XMLSchema(lxml.etree.parse(str(XSD)))
    document = lxml.etree.parse(str(folder / "report.xml"))
    schema.assertValid(document)
    results = document.findall(f".//{XCCDF}rule-result")
    have = {result.get("idref").rsplit("_", 1)[1]: result.find(f"{XCCDF}result").text for result in results}
    assert have == {rule["id"]: rule["verdict"] for rule in report["rules"]}
    # The schema leaves this to the reader: what is judged is a rule of the benchmark.
    rules = {rule.get("id") for rule in document.findall(f".//{XCCDF}Rule")}
    assert rules == {result.get("idref") for result in results}


def check_cyclonedx(folder):
    text = (folder / "report.cdx.json").read_text()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert error is None, error
    return json.loads(text)


def check_html(folder, report):
    page = Balanced()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    page.close()
    assert page.open == [], page.open
    text = "".join(page.text)
    for rule in report["rules"]:
        assert rule["title"] in text, rule["id"]
        for evidence in rule["evidence"]:
            assert evidence["text"] in text, evidence


def main():
    folder = pathlib.Path(sys.argv[1])
    report = check_json(folder)
    check_xccdf(folder, report)
    bom = check_cyclonedx(folder)
    check_html(folder, report)
    print(f"{len(report['rules'])} rules, {len(bom.get('components', []))} components: valid")


main()
