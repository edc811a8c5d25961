"""A camera's program is compiled without what `{:?}` prints: a sentence that had it would have a hole."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# With its width, sign and `#`; braces that are doubled are text.
DEBUG = re.compile(r"(?<!\{)(?:\{\{)*\{[^{}\s]*:[^{}\s]*\?\s*\}")
# These are in no program.
TESTS = re.compile(r"^#\[cfg\((?:all\()?test\b.*\)\]\n(?:pub(?:\(\w+\))? )?mod \w+ \{\n.*?^\}", re.M | re.S)
OF_TESTS = re.compile(r"^#\[cfg\(test\)\]\n(?:pub(?:\(\w+\))? )?mod (\w+);", re.M)
IMPL = re.compile(r"^impl.*\bDebug for .*?^\}", re.M | re.S)


def printed(text):
    """The lines of a source that print with it, outside of tests and of what is printed with it itself."""
    for other in (TESTS, IMPL):
        text = other.sub(lambda found: "\n" * found[0].count("\n"), text)
    return [number for number, line in enumerate(text.splitlines(), 1) if DEBUG.search(line)]


def tests_of(path):
    """The files of tests that a source names."""
    folder = path.parent if path.stem in ("lib", "main", "mod") else path.with_suffix("")
    return {folder / f"{name}.rs" for name in OF_TESTS.findall(path.read_text())}


class Debug(unittest.TestCase):
    def test_it_is_found(self):
        for line in ('format!("{:?}", a)', 'format!("{a:?}")', '"{0:#?}"', '"{:02x?}"', '"{{{a:?}}}"', '"{a:? }"', 'write!(f, "{:?} b")'):
            self.assertEqual(printed(f"fn a() {{\n    {line};\n}}\n"), [2], line)
        for line in ('format!("{a}")', '"a: {b}?"', "a?;", '"{{a:?}}"', "match a { b: c? }"):
            self.assertEqual(printed(f"    {line}\n"), [], line)
        self.assertEqual(printed('impl fmt::Debug for A {\n  "{:?}"\n}\n#[cfg(test)]\nmod tests {\n  "{:?}"\n}\n'), [])
        self.assertEqual(printed('#[cfg(test)]\nmod tests {\n}\nfn a() {\n  "{:?}"\n}\n'), [5])

    def test_no_sentence_of_the_program_has_it(self):
        sources = [path for path in (ROOT / "agent").rglob("*.rs") if "src" in path.parts and "fuzz" not in path.parts]
        tests = set().union(*map(tests_of, sources))
        sources = [path for path in sources if path not in tests and not {"tests", "tests.rs"} & set(path.parts)]
        self.assertGreater(len(sources), 150)
        found = [f"{path.relative_to(ROOT)}:{line}" for path in sources for line in printed(path.read_text())]
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
