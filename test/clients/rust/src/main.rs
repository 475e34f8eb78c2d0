// Reads a repo with one generation of hf-hub, and prints the SHA-256 of each file that it got.
// usage: hubmirror-clients VERSION WAY REPO, where VERSION is 0.4, 0.5 or 1, and WAY is snapshot or large.
// Endpoint, home and token come from the environment.

use sha2::{Digest, Sha256};
use std::env;
use std::error::Error;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn show(path: &Path) -> Result<()> {
    let digest = Sha256::digest(std::fs::read(path)?);
    let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{text} {}", path.display());
    Ok(())
}

fn show_all(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            show_all(&path)?;
        } else {
            show(&path)?;
        }
    }
    Ok(())
}

/// The two versions before 1 have the same calls, and types of their own.
macro_rules! read_by_sync_api {
    ($hub:ident, $way:expr, $repo:expr) => {{
        let api = $hub::api::sync::ApiBuilder::from_env()
            .with_progress(false)
            .with_token(env::var("HF_TOKEN").ok())
            .build()?;
        let model = api.model($repo.to_string());
        if $way == "large" {
            show(&model.get("large.bin")?)?;
        } else {
            for sibling in model.info()?.siblings {
                show(&model.get(&sibling.rfilename)?)?;
            }
        }
    }};
}

fn read_by_client(way: &str, repo: &str) -> Result<()> {
    let (owner, name) = repo.split_once('/').ok_or("REPO is OWNER/NAME")?;
    let model = hub_1::HFClientSync::new()?.model(owner, name);
    if way == "large" {
        show(&model.download_file().filename("large.bin").send()?)
    } else {
        show_all(&model.snapshot_download().send()?)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, version, way, repo] = arguments.as_slice() else {
        return Err("usage: hubmirror-clients VERSION WAY REPO".into());
    };
    match version.as_str() {
        "0.4" => read_by_sync_api!(hub_0_4, way, repo),
        "0.5" => read_by_sync_api!(hub_0_5, way, repo),
        "1" => read_by_client(way, repo)?,
        _ => return Err("no such version".into()),
    }
    Ok(())
}
