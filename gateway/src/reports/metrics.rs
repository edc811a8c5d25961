//! What reports look like in Prometheus.

use std::fmt;
use std::sync::{Arc, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::audit::Verdict;
use super::keep::Kind;
use super::{Family, Inner, Pull, Registry};

/// Most series of rules, and as many of unexplained traffic; beyond, cameras are left out and counted.
const MAX_SERIES: usize = 20_000;

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for Pull {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let word = match self {
            Self::Ok => "ok",
            Self::None => "none",
            Self::Bad => "bad",
            Self::Failed => "failed",
        };
        word.encode(encoder)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PullLabels {
    kind: Kind,
    result: Pull,
}

/// How often cameras were asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulls(Family<PullLabels, Counter>);

impl Pulls {
    pub(super) fn count(&self, kind: Kind, result: Pull) {
        self.0.get_or_create(&PullLabels { kind, result }).inc();
    }
}

pub(super) fn registry(inner: &Arc<Inner>) -> Registry {
    let mut registry = Registry::with_prefix("lenscap");
    let Pulls(pulls) = inner.pulls.clone();
    registry.register("gateway_reports", "Reports asked of cameras", pulls);
    let ipfix = inner.ipfix.clone();
    for (name, help, counter) in [
        (
            "gateway_ipfix_records",
            "Records sent to the IPFIX collector",
            ipfix.records,
        ),
        (
            "gateway_ipfix_messages",
            "Messages sent to the IPFIX collector",
            ipfix.messages,
        ),
        (
            "gateway_ipfix_dropped",
            "Records that the IPFIX collector could not be sent",
            ipfix.dropped,
        ),
    ] {
        registry.register(name, help, counter);
    }
    registry.register_collector(Box::new(Judged(Arc::clone(inner))));
    registry
}

/// What cameras' own reports say.
#[derive(Debug)]
struct Judged(Arc<Inner>);

impl Collector for Judged {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(inner) = self;
        let cameras = inner.cameras.lock().unwrap_or_else(PoisonError::into_inner);
        let one = ConstGauge::new(1i64);
        let (mut series, mut left_out) = (0, 0i64);
        {
            let help = "1 for the verdict of each rule in the camera's last audit";
            let mut rules = encoder.encode_descriptor("audit_rule", help, None, MetricType::Gauge)?;
            for (camera, entry) in cameras.iter() {
                if series + entry.audit.rules.len() > MAX_SERIES {
                    left_out += 1;
                    continue;
                }
                series += entry.audit.rules.len();
                for (rule, verdict) in &entry.audit.rules {
                    let labels = [
                        ("camera", camera.as_str()),
                        ("rule", rule.as_str()),
                        ("verdict", verdict.as_str()),
                    ];
                    one.encode(rules.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Cameras whose rules are too many to be shown";
        let gauge = ConstGauge::new(left_out);
        gauge.encode(encoder.encode_descriptor("audit_left_out", help, None, MetricType::Gauge)?)?;
        let count = |wanted: Verdict| {
            let rules = cameras.values().flat_map(|entry| &entry.audit.rules);
            let of_it = rules.filter(|(_, verdict)| *verdict == wanted);
            i64::try_from(of_it.count()).unwrap_or(i64::MAX)
        };
        {
            let help = "Rules of all cameras by verdict";
            let mut verdicts = encoder.encode_descriptor("audit_verdicts", help, None, MetricType::Gauge)?;
            for verdict in Verdict::ALL {
                let labels = [("verdict", verdict.as_str())];
                ConstGauge::new(count(verdict)).encode(verdicts.encode_family(&labels)?)?;
            }
        }
        let help = "Bytes on a camera's interfaces that none of its known connections explains";
        let mut unexplained =
            encoder.encode_descriptor("flows_unexplained_bytes", help, None, MetricType::Gauge)?;
        for (camera, entry) in cameras.iter().take(MAX_SERIES / 2) {
            let counters = entry.flows.head.unexplained;
            for (direction, bytes) in [("out", counters.bytes_out), ("in", counters.bytes_in)] {
                if let Some(bytes) = bytes {
                    let labels = [("camera", camera.as_str()), ("direction", direction)];
                    let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
                    gauge.encode(unexplained.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
