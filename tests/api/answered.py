"""Whether a run of schemathesis got an answer with a body from a path: answered.py HAR PATH"""

import json
import pathlib
import sys
import urllib.parse


def main():
    har, path = sys.argv[1:]
    entries = json.loads(pathlib.Path(har).read_text(encoding="utf-8"))["log"]["entries"]
    asked = [one for one in entries if one["request"]["method"] == "GET" and urllib.parse.urlsplit(one["request"]["url"]).path == path]
    good = sum(one["response"]["status"] == 200 and one["response"]["content"]["size"] > 2 for one in asked)
    print(f"tests/api: GET {path}: {good} of {len(asked)} answers were 200 with a body")
    sys.exit(not good)


main()
