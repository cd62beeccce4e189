//! Properties: what is true whatever users, machines and the operator itself do, in any order.

use proptest::prelude::*;
use serde_json::json;
use zab_operator::crd::spec::ConfigValue;
use zab_operator::inventory::{Inventory, Kind};
use zab_operator::memory::Memory;
use zab_operator::plan::{Plan, plan};
use zab_operator::quorum::majority;

use crate::world::{Hidden, World, key};

/// Seconds in which everything must come right once nothing new happens: the longest is a server
/// that does not come back, then a halted rollout that a new spec resumes, then a whole rollout.
const CALM_SECONDS: i64 = 1200;

/// Looks in a row that find nothing to do, after which the world is at rest.
const QUIET_LOOKS: u32 = 5;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    Pass(i64),
    /// The operator looks, and dies after so many steps.
    Reconcile(usize),
    /// The operator remembers what it saw now …
    Look,
    /// … and acts upon it later.
    ActOnOldLook,
    RestartOperator,
    Nonce(u8),
    Image(u8),
    Tick(u16),
    Voters(i32),
    Paused(bool),
    Grow(u16),
    Crash(usize, i64),
    Depose,
    Delete(usize),
    LoseVolume(usize),
    ForgetRecord,
    ForgetSet(usize),
    ForgetBudget,
    Blind(bool),
    /// A read fails, or works again.
    Hide(Hidden, bool),
}

fn hide() -> impl Strategy<Value = Happening> {
    let reads = [Hidden::Record, Hidden::Objects, Hidden::Revisions, Hidden::Pods, Hidden::Volumes];
    let fails = prop_oneof![1 => Just(true), 2 => Just(false)];
    (prop::sample::select(reads.to_vec()), fails)
        .prop_map(|(read, fails)| Happening::Hide(read, fails))
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{
        ActOnOldLook, Blind, Crash, Delete, Depose, ForgetBudget, ForgetRecord, ForgetSet, Grow,
        Image, Look, LoseVolume, Nonce, Pass, Paused, Reconcile, RestartOperator, Tick, Voters,
    };
    prop_oneof![
        12 => (1..15_i64).prop_map(Pass),
        16 => Just(Reconcile(usize::MAX)),
        4 => (0..4_usize).prop_map(Reconcile),
        2 => Just(Look),
        2 => Just(ActOnOldLook),
        1 => Just(RestartOperator),
        2 => (0..3_u8).prop_map(Nonce),
        2 => (0..3_u8).prop_map(Image),
        1 => (1..4_u16).prop_map(|tick| Tick(tick * 1000)),
        1 => prop_oneof![Just(3), Just(5), Just(7)].prop_map(Voters),
        1 => any::<bool>().prop_map(Paused),
        1 => (10..30_u16).prop_map(Grow),
        2 => (0..5_usize, 5..150_i64).prop_map(|(nth, seconds)| Crash(nth, seconds)),
        1 => Just(Depose),
        2 => (0..5_usize).prop_map(Delete),
        1 => (0..5_usize).prop_map(LoseVolume),
        1 => Just(ForgetRecord),
        1 => (0..3_usize).prop_map(ForgetSet),
        1 => Just(ForgetBudget),
        1 => any::<bool>().prop_map(Blind),
        3 => hide(),
    ]
}

/// What happens by itself, in the middle of a rollout.
fn mishap() -> impl Strategy<Value = Happening> {
    use Happening::{Blind, Crash, Delete, Depose, Pass, Reconcile, RestartOperator};
    prop_oneof![
        8 => (1..15_i64).prop_map(Pass),
        12 => Just(Reconcile(usize::MAX)),
        2 => (0..3_usize).prop_map(Reconcile),
        3 => (0..5_usize, 5..150_i64).prop_map(|(nth, seconds)| Crash(nth, seconds)),
        2 => (0..5_usize).prop_map(Delete),
        1 => Just(Depose),
        1 => Just(RestartOperator),
        1 => any::<bool>().prop_map(Blind),
        3 => hide(),
    ]
}

/// A world in which things happen.
struct Story {
    world: World,
    old_look: Option<Inventory>,
    /// Volumes are lost one at a time: more at once than a minority is beyond any protocol.
    volume_lost: Option<usize>,
}

impl Story {
    fn new(voters: i32) -> Self {
        let zones = json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }]);
        let zones = if voters == 1 { json!([]) } else { zones };
        let world = World::new(json!({ "replicas": voters, "zones": zones }));
        Self { world, old_look: None, volume_lost: None }
    }

    fn happens(&mut self, happening: &Happening) {
        let world = &mut self.world;
        match happening {
            Happening::Pass(seconds) => world.pass(*seconds),
            Happening::Reconcile(limit) => {
                let (plan, _) = world.reconcile(*limit);
                says_why(&plan);
            }
            Happening::Look => self.old_look = Some(world.inventory()),
            Happening::ActOnOldLook => {
                if let Some(look) = self.old_look.take() {
                    world.reconcile_with(&look, usize::MAX);
                }
            }
            Happening::RestartOperator => world.memory = Memory::default(),
            Happening::Nonce(nonce) => {
                world.edit(|spec| spec.rollout.restart_nonce = nonce.to_string());
            }
            Happening::Image(0) => world.edit(|spec| spec.image.tag = Some("bad".to_owned())),
            Happening::Image(tag) => world.edit(|spec| spec.image.tag = Some(format!("v{tag}"))),
            Happening::Tick(tick) => world.edit(|spec| {
                spec.config.insert("tickTime".to_owned(), ConfigValue(tick.to_string()));
            }),
            Happening::Voters(voters) if !world.cluster.spec.zones.is_empty() => {
                world.edit(|spec| spec.replicas = *voters);
            }
            Happening::Voters(_) => {}
            Happening::Paused(paused) => world.edit(|spec| spec.rollout.paused = *paused),
            Happening::Grow(size) => world.edit(|spec| {
                let now: u16 = spec.storage.data.size.trim_end_matches("Gi").parse().unwrap();
                spec.storage.data.size = format!("{}Gi", now.max(*size));
            }),
            Happening::Crash(nth, seconds) => {
                if let Some(pod) = self.nth_pod(*nth) {
                    self.world.crash_for(&pod, *seconds);
                }
            }
            Happening::Depose => world.servers.depose(),
            Happening::Delete(nth) => {
                if let Some(pod) = self.nth_pod(*nth) {
                    self.world.terminate(&pod);
                }
            }
            Happening::LoseVolume(nth) => self.lose_volume(*nth),
            Happening::ForgetRecord => {
                // Both records at once, of an ensemble that has formed, cannot be lost by one slip.
                if world.status().bootstrapped {
                    world.objects.remove(&key(Kind::ConfigMap, "x-bootstrap"));
                }
            }
            Happening::ForgetSet(nth) => {
                let sets = world.objects.keys().filter(|key| key.kind == Kind::StatefulSet);
                if let Some(set) = sets.cloned().collect::<Vec<_>>().get(*nth) {
                    world.objects.remove(set);
                }
            }
            Happening::ForgetBudget => {
                world.objects.remove(&key(Kind::PodDisruptionBudget, "x"));
            }
            Happening::Blind(blind) => world.blind = *blind,
            Happening::Hide(read, true) => {
                world.hidden.insert(*read);
            }
            Happening::Hide(read, false) => {
                world.hidden.remove(read);
            }
        }
        self.nothing_went_wrong();
    }

    fn nth_pod(&self, nth: usize) -> Option<String> {
        self.world.pods.keys().nth(nth).cloned()
    }

    /// A volume is lost only when all the others are whole and in step, and the ensemble is formed:
    /// no protocol survives the loss of a majority of the copies.
    fn lose_volume(&mut self, nth: usize) {
        let world = &self.world;
        let all = world.servers.synced(world.now).len() == world.servers.voters;
        let formed = world.status().bootstrapped && world.servers.voters > 1;
        if let Some(pod) = self.nth_pod(nth).filter(|_| all && formed) {
            self.volume_lost = Some(nth);
            self.world.lose_volume(&pod);
        }
    }

    fn nothing_went_wrong(&self) {
        assert_eq!(self.world.violation, None, "the operator did harm");
        assert_eq!(self.world.servers.lost, None, "an acknowledged write was lost");
        let bad = self.world.pods.values().filter(|pod| pod.is_bad()).count();
        let voters = self.world.servers.voters;
        assert!(
            !self.world.is_proven() || voters == 1 || voters - bad >= majority(voters),
            "a majority is on an image that does not run, though another was good"
        );
        assert!(self.world.founded <= 1, "the ensemble was founded {} times", self.world.founded);
    }

    fn has_quorum(&self) -> bool {
        let servers = &self.world.servers;
        servers.synced(self.world.now).len() >= majority(servers.voters)
    }

    /// The operator looks every five seconds.
    fn look_for(&mut self, seconds: i64) {
        let end = self.world.now + seconds;
        while self.world.now < end {
            self.world.reconcile(usize::MAX);
            self.nothing_went_wrong();
            self.world.pass(5);
        }
    }

    /// The user settles on a good spec, the machines work, the operator looks every five seconds.
    fn calm(&mut self) {
        self.world.blind = false;
        self.world.hidden.clear();
        // Other members than it was founded with are refused for good, so the user gives that up.
        let record = self.world.inventory().record.unwrap();
        let recorded = self.world.status().members.len();
        let founded = record.map_or(recorded, |record| record.ensemble.voters());
        let voters = i32::try_from(founded).unwrap();
        self.world.edit(|spec| {
            spec.image.tag = Some("final".to_owned());
            spec.rollout.paused = false;
            if voters > 1 {
                spec.replicas = voters;
            }
        });
        let end = self.world.now + CALM_SECONDS;
        let mut quiet = 0;
        while self.world.now < end && quiet < QUIET_LOOKS {
            let before = self.world.cluster.status.clone();
            let (plan, _) = self.world.reconcile(usize::MAX);
            says_why(&plan);
            self.nothing_went_wrong();
            let idle = plan.steps.is_empty() && plan.report.waits.is_empty();
            quiet = if idle && before == self.world.cluster.status { quiet + 1 } else { 0 };
            self.world.pass(5);
        }
    }
}

/// A plan that does nothing short of the goal says why.
fn says_why(plan: &Plan) {
    let well =
        plan.report.members.iter().all(|state| *state == zab_operator::plan::MemberState::Up)
            && matches!(plan.report.view, zab_operator::view::QuorumView::Healthy(_))
            && plan.report.rolling.stale.is_empty();
    assert!(
        well || !plan.steps.is_empty() || !plan.report.waits.is_empty(),
        "nothing is done, and nobody is told why: {:?}",
        plan.report
    );
}

fn voters() -> impl Strategy<Value = i32> {
    prop_oneof![1 => Just(1), 4 => Just(3), 2 => Just(5)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Quorum, data, founding once, idempotent prefixes, staleness: checked after every happening.
    /// Stability: once nothing new happens, the world comes right and the plan is empty.
    #[test]
    fn whatever_happens_nothing_is_lost_and_all_comes_right_in_the_end(
        voters in voters(),
        happenings in prop::collection::vec(happening(), 1..80),
    ) {
        let mut story = Story::new(voters);
        for happening in &happenings {
            story.happens(happening);
        }
        story.calm();
        let (plan, _) = story.world.reconcile(usize::MAX);
        prop_assert_eq!(&plan.steps, &vec![], "{:?}", plan.report);
        prop_assert_eq!(&plan.report.waits, &vec![]);
        let status = story.world.status();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        prop_assert_eq!(&ready.status, "True", "{}", ready.message);
        prop_assert!(status.bootstrapped);
        let images: Vec<_> = story.world.pods.values().map(|pod| pod.image.as_str()).collect();
        prop_assert!(images.iter().all(|image| image.ends_with(":final")), "{images:?}");
    }

    /// A rollout to an image that does not run costs one server, whatever fails meanwhile: a server
    /// that is lost comes back on the revision that was good, and a quorum comes back with it.
    #[test]
    fn an_image_that_does_not_run_never_reaches_a_majority(
        voters in prop_oneof![Just(3), Just(5)],
        mishaps in prop::collection::vec(mishap(), 20..80),
    ) {
        let mut story = Story::new(voters);
        story.look_for(60);
        prop_assert!(story.world.is_proven());
        story.happens(&Happening::Image(0));
        story.look_for(15);
        for mishap in &mishaps {
            story.happens(mishap);
        }
        story.world.blind = false;
        story.world.hidden.clear();
        let end = story.world.now + CALM_SECONDS;
        while !story.has_quorum() && story.world.now < end {
            story.look_for(5);
        }
        prop_assert!(story.has_quorum(), "the quorum does not come back");
    }

    /// The same inputs give the same plan, and looking twice changes nothing, the status included.
    #[test]
    fn planning_is_deterministic_and_looking_again_changes_nothing(
        voters in voters(),
        happenings in prop::collection::vec(happening(), 1..40),
    ) {
        let mut story = Story::new(voters);
        for happening in &happenings {
            story.happens(happening);
        }
        let inventory = story.world.inventory();
        let desired = story.world.desired();
        let now = story.world.timestamp(story.world.now);
        prop_assert_eq!(plan(&desired, &inventory, now), plan(&desired, &inventory, now));
        story.calm();
        story.world.reconcile(usize::MAX);
        let before = story.world.status();
        story.world.told.clear();
        story.world.pass(30);
        story.world.reconcile(usize::MAX);
        prop_assert_eq!(story.world.status(), before);
        prop_assert_eq!(&story.world.told, &Vec::<String>::new());
    }
}
