//! Scripts: what exactly happens in a situation. Each is a file in `testdata/plan`; commands:
//!
//! - `cluster [voters=N] [zones="a,b,c"] [policy=BestEffort]`: a new resource.
//! - `run SECONDS`: the operator looks every 5 seconds; prints each step and each new reason.
//! - `pass SECONDS`: time passes without the operator.
//! - `reconcile [limit=N]`: one pass, of whose steps only N are carried out.
//! - `set [image=TAG] [nonce=TEXT] [paused=true] [voters=N] [size=SIZE] [tick=MS]`: edit the spec.
//! - `crash POD [for=SECONDS]`, `delete POD`, `lose-volume POD`, `forget KIND NAME`: trouble.
//! - `elect`: the leader is deposed and another election begins.
//! - `lose-writes N`: all servers forget the last N writes, as no protocol allows.
//! - `refuse-pods TAG`: no pod of this image is made any more, as when a policy forbids it.
//! - `steal NAME`: somebody else has a Service of that name.
//! - `blind on|off`: the operator cannot reach the servers.
//! - `hide [record] [objects] [revisions] [pods] [volumes]`: only these reads fail from now on.
//! - `restart-operator`: it forgets all it remembers.
//! - `upgrade-operator VERSION`: another operator goes on.
//! - `recreate`: the resource is deleted and made anew; volumes stay.
//! - `status`, `conditions`, `events`: print; a warning is marked by `!`.

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use serde_json::json;
use zab_operator::crd::spec::ConfigValue;
use zab_operator::inventory::{Kind, Process};
use zab_operator::memory::Memory;

use crate::world::{CRASH_SECONDS, Hidden, World, key};

#[test]
fn scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/plan");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        goldenscript::run(&mut Script { world: None }, &file).unwrap();
    }
}

struct Script {
    world: Option<World>,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            self.world = Some(cluster(&mut args)?);
            args.reject_next()?;
            return Ok(String::new());
        }
        let world = self.world.as_mut().ok_or("no cluster yet")?;
        let mut output = String::new();
        match command.name.as_str() {
            "run" => run(world, pos(&mut args)?.parse()?, &mut output)?,
            "pass" => world.pass(pos(&mut args)?.parse()?),
            "reconcile" => {
                let limit = args.take_key("limit").map(str::parse).transpose()?;
                reconcile(world, limit.unwrap_or(usize::MAX), &mut output)?;
            }
            "set" => {
                while let Some((key, value)) = args.next_key() {
                    edit(world, key, value)?;
                }
            }
            "status" => print_status(world, &mut output)?,
            "conditions" => print_conditions(world, &mut output)?,
            "events" => {
                for event in std::mem::take(&mut world.told) {
                    writeln!(output, "{event}")?;
                }
            }
            name => trouble(world, name, &mut args)?,
        }
        args.reject_next()?;
        if let Some(problem) = world.violation.take().or(world.servers.lost.take()) {
            return Err(problem.into());
        }
        Ok(output)
    }
}

fn pos<'a>(args: &mut ArgumentConsumer<'a>) -> Result<&'a str, Box<dyn Error>> {
    Ok(args.next_pos().ok_or("an argument is missing")?)
}

fn cluster(args: &mut ArgumentConsumer<'_>) -> Result<World, Box<dyn Error>> {
    let voters: i32 = args.take_key("voters").unwrap_or("3").parse()?;
    let zones = args.take_key("zones").unwrap_or_default();
    let policy = args.take_key("policy").unwrap_or("Required");
    let zones: Vec<_> =
        zones.split(',').filter(|z| !z.is_empty()).map(|z| json!({ "name": z })).collect();
    let spec = json!({ "replicas": voters, "zones": zones, "zoneFailurePolicy": policy });
    Ok(World::new(spec))
}

fn edit(world: &mut World, key: &str, value: &str) -> Result<(), Box<dyn Error>> {
    let text = value.to_owned();
    match key {
        "image" => world.edit(|spec| spec.image.tag = Some(text)),
        "nonce" => world.edit(|spec| spec.rollout.restart_nonce = text),
        "paused" => world.edit(|spec| spec.rollout.paused = value == "true"),
        "voters" => world.edit(|spec| spec.replicas = value.parse().unwrap()),
        "size" => world.edit(|spec| spec.storage.data.size = text),
        "tick" => world.edit(|spec| {
            spec.config.insert("tickTime".to_owned(), ConfigValue(text));
        }),
        other => return Err(format!("set {other}?").into()),
    }
    Ok(())
}

fn trouble(
    world: &mut World,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Result<(), Box<dyn Error>> {
    match name {
        "crash" => {
            let seconds = args.take_key("for").map(str::parse).transpose()?;
            world.crash_for(pos(args)?, seconds.unwrap_or(CRASH_SECONDS));
        }
        "elect" => world.servers.depose(),
        "lose-writes" => world.servers.lose_writes(pos(args)?.parse()?),
        "delete" => world.terminate(pos(args)?),
        "lose-volume" => world.lose_volume(pos(args)?),
        "forget" => {
            let kind = match pos(args)? {
                "ConfigMap" => Kind::ConfigMap,
                "StatefulSet" => Kind::StatefulSet,
                "PodDisruptionBudget" => Kind::PodDisruptionBudget,
                other => return Err(format!("forget {other}?").into()),
            };
            world.objects.remove(&key(kind, pos(args)?)).ok_or("no such object")?;
        }
        "steal" => {
            let foreign = json!({ "metadata": { "ownerReferences": [
                { "uid": "somebody", "controller": true },
            ]}});
            world.objects.insert(key(Kind::Service, pos(args)?), foreign);
        }
        "refuse-pods" => world.refused_image = Some(pos(args)?.to_owned()),
        "hide" => {
            let hidden = std::iter::from_fn(|| args.next_pos()).map(hidden);
            world.hidden = hidden.collect::<Result<_, _>>()?;
        }
        "blind" => world.blind = pos(args)? == "on",
        "restart-operator" => world.memory = Memory::default(),
        "upgrade-operator" => {
            world.memory = Memory::default();
            world.operator_version = pos(args)?.to_owned();
        }
        "recreate" => recreate(world),
        other => return Err(format!("unknown command {other}").into()),
    }
    Ok(())
}

fn hidden(name: &str) -> Result<Hidden, Box<dyn Error>> {
    Ok(match name {
        "record" => Hidden::Record,
        "objects" => Hidden::Objects,
        "revisions" => Hidden::Revisions,
        "pods" => Hidden::Pods,
        "volumes" => Hidden::Volumes,
        other => return Err(format!("hide {other}?").into()),
    })
}

fn reconcile(world: &mut World, limit: usize, output: &mut String) -> Result<(), Box<dyn Error>> {
    let (plan, outcome) = world.reconcile(limit);
    for step in &outcome.done {
        writeln!(output, "{step}")?;
    }
    if let Some(failure) = outcome.failed {
        writeln!(output, "{failure}")?;
    }
    for wait in plan.report.waits {
        writeln!(output, "waiting {}: {}", wait.reason, wait.sentence)?;
    }
    Ok(())
}

fn print_conditions(world: &World, output: &mut String) -> Result<(), Box<dyn Error>> {
    for condition in world.status().conditions {
        let (type_, status) = (condition.type_, condition.status);
        writeln!(output, "{type_}={status} {}: {}", condition.reason, condition.message)?;
    }
    Ok(())
}

/// The operator looks every five seconds; prints what it does and every new reason for waiting.
fn run(world: &mut World, seconds: i64, output: &mut String) -> Result<(), Box<dyn Error>> {
    let mut waiting = Vec::new();
    let end = world.now + seconds;
    while world.now < end {
        let (plan, outcome) = world.reconcile(usize::MAX);
        for step in &outcome.done {
            writeln!(output, "{:>4}s {step}", world.now)?;
        }
        if let Some(failure) = outcome.failed {
            writeln!(output, "{:>4}s {failure}", world.now)?;
        }
        for wait in plan.report.waits.iter().filter(|wait| !waiting.contains(*wait)) {
            writeln!(output, "{:>4}s   waiting {}: {}", world.now, wait.reason, wait.sentence)?;
        }
        waiting = plan.report.waits;
        world.pass(5);
    }
    Ok(())
}

fn recreate(world: &mut World) {
    let fresh = World::new(serde_json::to_value(&world.cluster.spec).unwrap());
    let (volumes, data) = (world.volumes.clone(), world.servers.data.clone());
    let acknowledged = world.servers.acknowledged;
    let (now, epoch) = (world.now, world.servers.epoch);
    *world = World { volumes, now, ..fresh };
    world.servers.data = data;
    world.servers.acknowledged = acknowledged;
    world.servers.epoch = epoch;
}

fn print_status(world: &mut World, output: &mut String) -> Result<(), Box<dyn Error>> {
    let status = world.status();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let zones = status.conditions.iter().find(|c| c.type_ == "ZoneFailureTolerant");
    let leader = status.membership.as_ref().map_or("-", |membership| membership.leader.as_str());
    writeln!(
        output,
        "voters={} ready={} leader={leader} zone-safe={} status={} bootstrapped={}",
        world.cluster.spec.replicas,
        status.ready_replicas,
        zones.map_or("-", |condition| condition.status.as_str()),
        ready.map_or("-", |condition| condition.reason.as_str()),
        status.bootstrapped,
    )?;
    if let Some(rollout) = &status.rollout {
        writeln!(
            output,
            "rollout {:?}: {} updated, {} elections",
            rollout.phase, rollout.updated, rollout.elections
        )?;
    }
    let inventory = world.inventory();
    for (name, pod) in inventory.pods.unwrap() {
        let image = &world.pods[&name].image;
        let state = match pod.process {
            Process::Running => "running".to_owned(),
            Process::Stopped { reason, .. } => reason,
        };
        let ready = if world.servers.serves(&name, world.now) { "ready" } else { "not ready" };
        writeln!(output, "pod {name}: {image} {state}, {ready}")?;
    }
    Ok(())
}
