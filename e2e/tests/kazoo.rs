//! kazoo, the Python client most in use, with servers of ours. What happens is told in `e2e/kazoo/story.py`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::commands::run;
use e2e::ensemble::Ensemble;
use e2e::repository;
use e2e::scratch::{Scratch, ports};
use e2e::server::Kind::Zab;
use e2e::server::Server;

/// The release from PyPI.
const VERSION: &str = "2.11.0";

/// All of the story.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn kazoo_is_content_with_one_server_of_ours() {
    let python = python().unwrap();
    let scratch = Scratch::new("kazoo-one").unwrap();
    let port = ports(1).unwrap()[0];
    let mut server = Server::start_standalone(Zab, scratch.path(), port).unwrap();
    server.wait_until_serving().unwrap();
    tell(&python, &server.client_address().to_string(), &[]).unwrap();
}

#[test]
fn kazoo_is_content_with_three_servers_of_ours_and_survives_a_kill() {
    let python = python().unwrap();
    let mut ensemble = Ensemble::new("kazoo-three", &[Zab, Zab, Zab]).unwrap();
    for id in ensemble.ids() {
        ensemble.start(id).unwrap();
    }
    ensemble.wait_until_serving(&[1, 2, 3]).unwrap();
    let leader = ensemble.wait_until_new_leader(&[1, 2, 3]).unwrap();
    // The first one is killed: the leader, which is the hardest case.
    let mut order = vec![leader];
    order.extend(ensemble.ids().filter(|id| *id != leader));
    let kill = format!("kill -9 {}", ensemble.running(leader).unwrap().process_id());
    tell(&python, &ensemble.addresses(&order), &["sh", "-c", &kill]).unwrap();
}

fn tell(python: &str, hosts: &str, kill: &[&str]) -> Result<()> {
    let story = repository().join("e2e/kazoo/story.py");
    let arguments = [&[story.to_str().context("a path in UTF-8")?, hosts], kill].concat();
    let told = run(DEADLINE, python, &arguments)?;
    ensure!(told.ends_with("kazoo: all is well\n"), "{told}");
    Ok(())
}

/// A Python with kazoo, made once in the cache folder.
fn python() -> Result<String> {
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let home = std::env::var_os("HOME").context("HOME is not set, so there is no cache folder")?;
    let folder = PathBuf::from(home).join(format!(".cache/zab/kazoo-{VERSION}"));
    let python = folder.join("bin/python");
    let text = |path: &PathBuf| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let has_kazoo = ["-c", "import kazoo.client"];
    if run(Duration::from_secs(60), &text(&python)?, &has_kazoo).is_err() {
        let deadline = Duration::from_secs(300);
        run(deadline, "python3", &["-m", "venv", "--clear", &text(&folder)?])
            .context("python3 with venv is needed: apt-get install python3 python3-venv")?;
        let package = format!("kazoo=={VERSION}");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package];
        run(deadline, &text(&python)?, &install).context("kazoo could not be fetched from PyPI")?;
    }
    text(&python)
}
