"""Judges audit reports with readers that are not ours: report.json, report.xml (XCCDF), report.cdx.json, report.html.

usage: validate.py DIR [--running]

--running: of a running camera, whose figures differ from one report to the next; the page's picture is not looked at.
"""

import html.parser
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import zlib

import jsonschema
import lxml.etree
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
XSD = pathlib.Path("/usr/share/openscap/schemas/xccdf/1.2/xccdf_1.2.xsd")
XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
VOID = {"meta", "br"}
RUNNING = "--running" in sys.argv


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
            assert RUNNING or evidence["text"] in text, evidence


def pixels(png):
    """How often each colour is in a picture of 8 bits a channel (PNG, ISO/IEC 15948)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n", "no PNG"
    at, data, header = 8, b"", None
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            data += body
    width, height, bits, colours, _, _, interlaced = header
    assert (bits, interlaced) == (8, 0) and colours in (2, 6), header
    step = 3 if colours == 2 else 4
    raw, row_bytes = zlib.decompress(data), width * step
    above, seen = bytearray(row_bytes), {}
    for number in range(height):
        start = number * (row_bytes + 1)
        how, row = raw[start], bytearray(raw[start + 1:start + 1 + row_bytes])
        for n in range(row_bytes if how else 0):
            left = row[n - step] if n >= step else 0
            corner = above[n - step] if n >= step else 0
            up = above[n]
            if how == 4:
                guess = left + up - corner
                near = [abs(guess - one) for one in (left, up, corner)]
                add = (left, up, corner)[near.index(min(near))]
            else:
                add = (0, left, up, (left + up) // 2)[how]
            row[n] = (row[n] + add) & 0xff
        for n in range(0, row_bytes, step):
            colour = bytes(row[n:n + 3])
            seen[colour] = seen.get(colour, 0) + 1
        above = row
    return width, height, seen


def check_picture(folder, report):
    """Chromium shows the page: as wide as it should be, and badges in the colours of the verdicts that there are."""
    if not shutil.which("chromium"):
        sys.exit("chromium is missing: Debian's package chromium")
    page, picture = folder / "report.html", folder / "report.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
               f"--user-data-dir={folder}/profile", "--window-size=900,1600", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    width, height, seen = pixels(picture.read_bytes())
    assert (width, height) == (900, 1600), (width, height)
    # What is the worst stands first and so is in the picture.
    for verdict, colour in (("fail", "c62828"), ("unknown", "f9a825")):
        shown, there = seen.get(bytes.fromhex(colour), 0), report["counts"][verdict]
        assert (shown > 400) == (there > 0), (verdict, there, shown)
    assert seen.get(b"\xff\xff\xff", 0) > width * height // 2, "the page is not white"
    # Letters: many shades of grey.
    assert sum(1 for red, green, blue in seen if red == green == blue) > 30, "there is no text"


def main():
    folder = pathlib.Path(sys.argv[1])
    report = check_json(folder)
    check_xccdf(folder, report)
    bom = check_cyclonedx(folder)
    check_html(folder, report)
    if not RUNNING:
        check_picture(folder, report)
    print(f"{len(report['rules'])} rules, {len(bom.get('components', []))} components: valid")


main()
