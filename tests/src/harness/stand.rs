//! The usual arrangement: one camera behind one agent, online at one gateway.

use super::agent::{Agent, AgentConfig};
use super::camera::Camera;
use super::certs::{CertFiles, Leaf, Pki};
use super::dir::TestDir;
use super::gateway::{CameraKey, Gateway, GatewayConfig, ONLINE_LIMIT};

/// Camera, agent and gateway, all running. The camera is `front`, its profile `main`.
#[derive(Debug)]
pub struct Stand {
    /// The agent; dropped first, so that nothing dials a gateway that is gone.
    pub agent: Agent,
    /// The gateway.
    pub gateway: Gateway,
    /// The camera.
    pub camera: Camera,
    /// The agent's configuration as it was started with.
    pub config: AgentConfig,
    /// The gateway's configuration as it was started with.
    pub gateway_config: GatewayConfig,
    /// The authority behind the gateway's certificate.
    pub pki: Pki,
    /// The camera's client certificate.
    pub client: CertFiles,
    /// The test's folder.
    pub dir: TestDir,
}

impl Stand {
    /// Starts everything and waits until the camera is online.
    #[track_caller]
    pub fn new(dir: &TestDir, camera: Camera) -> Self {
        Self::with(dir, camera, |config| config)
    }

    /// The same with another agent configuration.
    #[track_caller]
    pub fn with(dir: &TestDir, camera: Camera, change: impl FnOnce(AgentConfig) -> AgentConfig) -> Self {
        let pki = Pki::new(dir);
        let client = pki.client("front");
        let gateway_config =
            GatewayConfig::new(&pki.leaf(Leaf::Good), CameraKey::Certificate(client.clone()));
        let gateway = Gateway::start(dir, &gateway_config);
        let config = AgentConfig::new(&gateway.endpoint(), &pki, &client).profile(camera.profile("main"));
        let config = change(config);
        let agent = Agent::start(dir, &config);
        gateway.wait_online("front", ONLINE_LIMIT);
        Self {
            agent,
            gateway,
            camera,
            config,
            gateway_config,
            pki,
            client,
            dir: dir.clone(),
        }
    }

    /// The viewer's URL of the profile `main`.
    pub fn url(&self) -> String {
        self.gateway.viewer_url("front", "main")
    }

    /// The same without credentials.
    pub fn plain_url(&self) -> String {
        self.gateway.plain_url("front", "main")
    }
}
