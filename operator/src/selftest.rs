//! Checks of an installation, run by `helm test`: that the definition is there and enforces its
//! rules, that somebody holds the lease, and that the operator answers. It changes nothing: the
//! resources it sends are dry runs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::time::sleep;

use crate::crd::ZabCluster;
use crate::lease::LEASE_NAME;
use crate::scrape;

/// A holder renews more often than this.
const RENEWAL_MAX: Duration = Duration::from_secs(12);

/// Runs all checks and prints each.
///
/// # Errors
/// The first check that fails.
pub async fn run(namespace: &str, operator: Option<&str>) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("find the API server")?;
    accepts(&client, namespace, json!({ "replicas": 1 })).await?;
    println!("ok: a resource with one voter is accepted");
    let refused = [
        (json!({ "replicas": 2 }), "replicas counts voters"),
        (
            json!({ "replicas": 3, "zones": [{ "name": "a" }, { "name": "b" }] }),
            "needs at least 3 zones",
        ),
        (json!({ "replicas": 1, "config": { "dataDir": "/x" } }), "belongs to the operator"),
    ];
    for (spec, why) in refused {
        refuses(&client, namespace, spec, why).await?;
        println!("ok: a wrong resource is refused: {why}");
    }
    let holder = lease_is_renewed(&client, namespace).await?;
    println!("ok: {holder} holds the lease and renews it");
    if let Some(operator) = operator {
        let address = tokio::net::lookup_host(operator).await.context("look up the operator")?;
        let address: Vec<SocketAddr> = address.collect();
        let address = *address.first().context("the operator's Service has no address")?;
        let page = scrape::get(address, "/metrics").await.map_err(anyhow::Error::msg)?;
        ensure!(page.contains("zab_operator_build_info"), "the metrics page is not the operator's");
        println!("ok: {operator} serves metrics");
    }
    println!("all checks passed");
    Ok(())
}

async fn create(
    client: &Client,
    namespace: &str,
    spec: serde_json::Value,
) -> anyhow::Result<Result<ZabCluster, kube::Error>> {
    let cluster: ZabCluster = serde_json::from_value(json!({
        "apiVersion": "zab.dev/v1",
        "kind": "ZabCluster",
        "metadata": { "name": "selftest" },
        "spec": spec,
    }))
    .context("the test resource is well-formed")?;
    let api: Api<ZabCluster> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    Ok(api.create(&params, &cluster).await)
}

async fn accepts(client: &Client, namespace: &str, spec: serde_json::Value) -> anyhow::Result<()> {
    create(client, namespace, spec).await?.map(drop).context("a valid resource was refused")
}

async fn refuses(
    client: &Client,
    namespace: &str,
    spec: serde_json::Value,
    why: &str,
) -> anyhow::Result<()> {
    match create(client, namespace, spec.clone()).await? {
        Ok(_) => bail!("a wrong resource was accepted: {spec}"),
        Err(kube::Error::Api(status)) if status.message.contains(why) => Ok(()),
        Err(error) => Err(error).context(format!("refused for another reason than {why:?}")),
    }
}

async fn lease_is_renewed(client: &Client, namespace: &str) -> anyhow::Result<String> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let first = api.get(LEASE_NAME).await.context("read the lease")?;
    let mut waited = Duration::ZERO;
    while waited < RENEWAL_MAX {
        sleep(Duration::from_secs(1)).await;
        waited += Duration::from_secs(1);
        let now = api.get(LEASE_NAME).await.context("read the lease")?;
        if now.metadata.resource_version != first.metadata.resource_version {
            let holder = now.spec.and_then(|spec| spec.holder_identity);
            return holder.context("nobody holds the lease");
        }
    }
    bail!("the lease was not renewed for {} s", RENEWAL_MAX.as_secs())
}
