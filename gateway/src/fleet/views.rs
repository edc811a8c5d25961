//! Who watched what and when: written down behind the viewers' backs, never in their way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::warn;

use crate::store::{Store, View};

/// Most entries that wait to be written.
const MAX_WAITING: usize = 4096;
/// Most entries of one transaction.
const MAX_BATCH: usize = 512;
/// How long an entry may wait for others to share its transaction.
const GATHER: Duration = Duration::from_millis(200);

enum Message {
    View(View),
    Flush(SyncSender<()>),
}

/// Takes entries for the list of views.
pub struct ViewLog {
    sender: Option<SyncSender<Message>>,
    writer: Option<JoinHandle<()>>,
    last_id: AtomicI64,
}

impl fmt::Debug for ViewLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewLog")
    }
}

impl ViewLog {
    /// Starts the thread that writes. `last_id`: the highest number so far, for the clock may have been set back.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, last_id: i64) -> Self {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let writer = std::thread::Builder::new()
            .name("views".to_owned())
            .spawn(move || write(&receiver, &*store));
        Self {
            sender: Some(sender),
            writer: writer.ok(),
            last_id: AtomicI64::new(last_id),
        }
    }

    /// A number for a new entry: the time in microseconds, or the next.
    #[must_use]
    pub fn next_id(&self, now_micros: i64) -> i64 {
        let next = |last: i64| Some(now_micros.max(last.saturating_add(1)));
        match self
            .last_id
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        {
            Ok(last) | Err(last) => now_micros.max(last.saturating_add(1)),
        }
    }

    /// Writes an entry soon. False if too many wait, and this one is lost.
    #[must_use]
    pub fn write(&self, view: View) -> bool {
        match &self.sender {
            Some(sender) => sender.try_send(Message::View(view)).is_ok(),
            None => false,
        }
    }

    /// Waits until what was given so far is written. Blocks.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if let Some(sender) = &self.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            let _ = wait.recv();
        }
    }
}

impl Drop for ViewLog {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write(receiver: &Receiver<Message>, store: &dyn Store) {
    while let Ok(first) = receiver.recv() {
        let (mut batch, mut flushes) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::View(view) => batch.push(view),
                Message::Flush(done) => flushes.push(done),
            }
            if batch.len() < MAX_BATCH && flushes.is_empty() {
                next = receiver.recv_timeout(GATHER).ok();
            }
        }
        if !batch.is_empty()
            && let Err(error) = store.write_views(&batch)
        {
            warn!(%error, lost = batch.len(), "views not written down");
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ViewFilter;
    use crate::store::sqlite::SqliteStore;

    #[test]
    fn what_was_given_is_there_after_a_flush_and_at_the_end() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
        let log = ViewLog::start(Arc::clone(&store), 3);
        let view = |id| View {
            id,
            camera: "front".into(),
            profile: "main".into(),
            user: "alice".into(),
            by: "rtsp".into(),
            address: "192.0.2.1".into(),
            began: 1,
            ended: None,
            bytes: 0,
        };
        let count = || {
            let filter = ViewFilter {
                limit: 100,
                ..ViewFilter::default()
            };
            store.views(&filter).unwrap().len()
        };
        assert_eq!((log.next_id(2), log.next_id(2)), (4, 5), "the clock was set back");
        assert_eq!((log.next_id(6), log.next_id(6), log.next_id(9)), (6, 7, 9));
        assert!(log.write(view(1)) && log.write(view(2)));
        log.flush();
        assert_eq!(count(), 2);
        assert!(log.write(view(3)));
        drop(log);
        assert_eq!(count(), 3);
    }
}
