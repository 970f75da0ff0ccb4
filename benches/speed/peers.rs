//! The peers, if they are installed: nchan, Node's `ws`, FastAPI. `script/bench` installs
//! the packages in the folder that `SESSIONWATCH_PEERS` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use crate::process::{Process, free_port};
use crate::report::median;

fn peers_folder() -> Option<PathBuf> {
    std::env::var_os("SESSIONWATCH_PEERS").map(PathBuf::from)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
}

/// The module that nginx has to load.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// Debian's packages with nginx and the module.
const NCHAN_PACKAGES: &str = "nginx-light libnginx-mod-nchan";

/// What the table says of a peer that is compared by `rates`; without any, that it was not measured.
pub fn compared(name: &str, rates: &[f64], text: impl FnOnce(f64) -> String) -> String {
    if rates.is_empty() { format!("{name} is not installed") } else { format!("{name} {}", text(median(rates))) }
}

/// Starts Debian's nginx with libnginx-mod-nchan.
pub fn nchan(folder: &Path) -> Option<Process> {
    let version = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
    if version.is_err() || !Path::new(NCHAN).exists() {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            eprintln!("  nchan is not measured, since {NCHAN} or nginx is missing: apt-get install {NCHAN_PACKAGES}");
        });
        return None;
    }
    let port = free_port();
    let folder = folder.join(format!("nchan-{port}"));
    std::fs::create_dir_all(&folder).expect("a folder for nginx");
    let text = std::fs::read_to_string(source("nchan.conf")).expect("its configuration");
    let text = text.replace("PORT", &port.to_string()).replace("FOLDER", &folder.display().to_string());
    let text = text.replace("load_module modules/", "load_module /usr/lib/nginx/modules/");
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).expect("its configuration is written");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(file);
    Some(Process::silent(command, port))
}

/// Starts a server with Node's `ws`.
pub fn node_ws() -> Option<Process> {
    let folder = peers_folder().filter(|folder| folder.join("node_modules/ws").exists())?;
    let port = free_port();
    let mut command = Command::new("node");
    command.arg(source("ws_server.mjs")).arg(port.to_string()).current_dir(folder);
    Some(Process::silent(command, port))
}

/// Starts FastAPI with uvicorn and SQLite, one commit per request.
pub fn fastapi(folder: &Path) -> Option<Process> {
    let python = peers_folder().map(|folder| folder.join("py/bin/python")).filter(|python| python.exists())?;
    let port = free_port();
    let mut command = Command::new(python);
    command.arg(source("fastapi_server.py")).arg(port.to_string()).arg(folder.join(format!("peer-{port}.db")));
    Some(Process::silent(command, port))
}
