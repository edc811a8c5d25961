//! One folder a test, kept after the run so that a failure can be read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A test's own folder: `out/e2e/<test>`, emptied when the test starts and kept when it ends.
#[derive(Debug, Clone)]
pub struct TestDir {
    path: PathBuf,
}

impl TestDir {
    /// Makes the folder for the test of this name, which must be unique.
    pub fn new(test: &str) -> Self {
        let base = std::env::var_os("LENSCAP_E2E_DIR")
            .map_or_else(|| workspace_root().join("out/e2e"), PathBuf::from);
        let path = base.join(test.replace("::", "/"));
        if path.exists() {
            fs::remove_dir_all(&path).expect("cannot empty the test's folder");
        }
        fs::create_dir_all(&path).expect("cannot make the test's folder");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder in it.
    pub fn subdir(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir_all(&path).expect("cannot make a folder for the test");
        Self { path }
    }

    /// Writes a file that anyone may read.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).expect("cannot write a test file");
        path
    }

    /// Writes a file that its owner alone may read, as the programs demand of secrets.
    pub fn write_secret(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        let _ = fs::remove_file(&path);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_ref()))
            .expect("cannot write a secret test file");
        path
    }
}

/// The workspace's root folder.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies in the workspace")
        .to_owned()
}
