//! Event log of simcam: one JSON object a line, written at once.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

/// Where events go; without a file they are dropped.
#[derive(Debug)]
pub struct Events {
    file: Option<Mutex<File>>,
    start: Instant,
}

impl Events {
    /// Creates or truncates the log file.
    pub fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(Mutex::new);
        Ok(Self {
            file,
            start: Instant::now(),
        })
    }

    /// Appends one event; `fields` is an object. `t` is seconds since start.
    pub fn write(&self, event: &str, mut fields: Value) {
        let Some(file) = &self.file else { return };
        if let Some(object) = fields.as_object_mut() {
            object.insert("event".to_owned(), json!(event));
            object.insert("t".to_owned(), json!(self.start.elapsed().as_secs_f64()));
        }
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the camera; the test that reads the log will notice.
        let _ = file.write_all(format!("{fields}\n").as_bytes());
    }
}
