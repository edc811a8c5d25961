//! Video files for simcam and pictures for snapshots, made once by ffmpeg and kept in `out/e2e-media`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use super::dir::workspace_root;
use super::tools;
use crate::annexb::Codec;

/// Frames per second of every file.
pub const FPS: u64 = 25;

/// One writer at a time in this process; other processes are kept apart by the rename.
static LOCK: Mutex<()> = Mutex::new(());

/// An Annex B file of ten seconds, 25 frames per second, a random access point every two, no B pictures.
///
/// `bits_per_second` is held as a constant rate over half a second, so that half of it is half of it at any moment.
#[track_caller]
pub fn video(codec: Codec, bits_per_second: u64) -> PathBuf {
    let kilobits = bits_per_second / 1000;
    let (name, encoder, format, own) = match codec {
        Codec::H264 => ("h264", "libx264", "h264", "-x264-params"),
        Codec::H265 => ("h265", "libx265", "hevc", "-x265-params"),
    };
    let params = match codec {
        Codec::H264 => format!(
            "bframes=0:keyint=50:min-keyint=50:scenecut=0:vbv-maxrate={kilobits}:vbv-bufsize={}",
            kilobits / 2
        ),
        Codec::H265 => format!(
            "bframes=0:keyint=50:min-keyint=50:scenecut=0:repeat-headers=1:log-level=error:vbv-maxrate={kilobits}:vbv-bufsize={}",
            kilobits / 2
        ),
    };
    made_once(&format!("{kilobits}k.{name}"), |target| {
        let mut command = Command::new(tools::outside("ffmpeg"));
        command
            .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i"])
            .arg(format!("testsrc2=size=640x360:rate={FPS},noise=alls=24:allf=t"))
            .args([
                "-t",
                "10",
                "-pix_fmt",
                "yuv420p",
                "-c:v",
                encoder,
                "-preset",
                "ultrafast",
            ])
            .args(["-b:v", &format!("{kilobits}k"), own, &params, "-f", format])
            .arg(target);
        command
    })
}

/// A JPEG as a camera's snapshot.
#[track_caller]
pub fn jpeg() -> PathBuf {
    made_once("snapshot.jpg", |target| {
        let mut command = Command::new(tools::outside("ffmpeg"));
        command
            .args([
                "-nostdin",
                "-v",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=1280x720:rate=1",
            ])
            .args(["-frames:v", "1", "-update", "1", "-f", "image2", "-c:v", "mjpeg"])
            .arg(target);
        command
    })
}

#[track_caller]
fn made_once(name: &str, command: impl FnOnce(&PathBuf) -> Command) -> PathBuf {
    let _guard = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = workspace_root().join("out/e2e-media");
    fs::create_dir_all(&folder).expect("cannot make the media folder");
    let path = folder.join(name);
    if path.is_file() {
        return path;
    }
    let draft = folder.join(format!("{}.{name}", std::process::id()));
    let output = command(&draft).output().expect("ffmpeg can be started");
    assert!(
        output.status.success(),
        "ffmpeg cannot make {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&draft, &path).expect("cannot store the media file");
    path
}
