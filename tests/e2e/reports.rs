//! What a camera's monitor makes arrives at the gateway: audits and flow accounts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::gateway::{CameraKey, ONLINE_LIMIT};
use lenscap_tests::harness::{Agent, AgentConfig, Gateway, GatewayConfig, Pki, TestDir, http, tools, wait};

use crate::support::some_profile;

/// An audit asks services and tries passwords, on a busy machine too.
const AUDIT_LIMIT: Duration = Duration::from_secs(240);
/// Jobs run one after the other.
const FLOWS_LIMIT: Duration = Duration::from_secs(240);

#[test]
fn audits_and_flows_of_a_running_camera_arrive() {
    tools::need_root("a monitor that makes audits and flow accounts");
    let dir = TestDir::new("reports::arrive");
    let pki = Pki::new(&dir);
    let client = pki.client("front");
    let mut config = GatewayConfig::new(&pki.leaf(Leaf::Good), CameraKey::Certificate(client.clone()));
    config.extra = "\n[reports]\nflows_every_s = 2\naudit_every_s = 2\n".to_owned();
    let gateway = Gateway::start(&dir, &config);
    let mut config = AgentConfig::new(&gateway.endpoint(), &pki, &client).profile(some_profile());
    config.reports = true;
    let agent = Agent::start(&dir, &config);
    gateway.wait_online("front", ONLINE_LIMIT);

    let audit = wait::until("the audit at the gateway", AUDIT_LIMIT, || {
        let response = gateway.get("/cameras/front/audit");
        (response.status == 200).then_some(response)
    });
    let received = audit.header("lenscap-received").unwrap().parse::<u64>();
    assert!(received.unwrap() > 1_700_000_000);
    let report = audit.json();
    assert_eq!(report["format"], "lenscap-audit/1");
    assert_eq!(report["subject"]["live"], true);
    let rules = report["rules"].as_array().unwrap();
    assert!(rules.len() > 30, "{} rules", rules.len());
    let metrics = gateway.get("/metrics").text();
    for rule in rules {
        let (id, verdict) = (rule["id"].as_str().unwrap(), rule["verdict"].as_str().unwrap());
        let series = format!("camera=\"front\",rule=\"{id}\",verdict=\"{verdict}\"");
        assert!(metrics.contains(&series), "no {series} among the metrics");
    }

    let flows = wait::until("the flows at the gateway", FLOWS_LIMIT, || {
        let response = gateway.get("/cameras/front/flows");
        (response.status == 200).then_some(response)
    });
    let flows = flows.json();
    assert_eq!(flows["camera"], "front");
    assert_eq!(flows["epoch"].as_str().unwrap().len(), 16);
    assert!(flows["samples"].as_u64().unwrap() >= 1 && flows["flows"].is_array());

    let asked = http::request(&gateway.http, "POST", "/cameras/front/audit", &[], b"").unwrap();
    assert_eq!(asked.status, 202, "{}", asked.text());
    // The agent's user has no business with the files.
    for name in ["audit.json", "flows.jsonl"] {
        let file = dir.subdir("agent").join("run").join(name);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(agent);
}
