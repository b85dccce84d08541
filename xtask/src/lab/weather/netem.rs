//! The kernel's own bad weather, where it has that (tc-netem(8)).

use super::super::Namespace;
use super::{Damage, Weather};
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Frames that may be under way at a time: more than come in the longest delay.
const LIMIT: u32 = 100_000;

/// A device, by its namespace.
type End = (Namespace, String);

/// Weather at both ends of a cable.
#[derive(Debug)]
pub(crate) struct Netem {
    ends: [End; 2],
}

impl Netem {
    /// Makes it rough for what both ends send.
    ///
    /// # Errors
    ///
    /// When the kernel or this machine has no `netem`; nothing is changed then.
    pub(super) fn start(ends: [End; 2], weather: Weather) -> Result<Self> {
        let mut netem = Self { ends };
        let words = arguments(weather);
        for end in &netem.ends {
            let result = tc(end, &["qdisc", "replace", "dev", &end.1, "root"], &words);
            if let Err(error) = result {
                netem.clear();
                return Err(error);
            }
        }
        Ok(netem)
    }

    /// Ends it; what it did to frames, as far as it counts.
    ///
    /// # Errors
    ///
    /// When it isn't there any more.
    pub(super) fn end(mut self) -> Result<Damage> {
        let mut all = Damage::default();
        for end in &self.ends {
            let text = tc(end, &["-s", "-j", "qdisc", "show", "dev", &end.1], &[])?;
            let (packets, drops) = counts(&text)?;
            all.frames += packets + drops;
            all.lost += drops;
        }
        self.clear();
        Ok(all)
    }

    fn clear(&mut self) {
        for end in &self.ends {
            // There may be none, which is what is wanted.
            let _ = tc(end, &["qdisc", "delete", "dev", &end.1, "root"], &[]);
        }
    }
}

/// What `tc` is told of the weather.
fn arguments(weather: Weather) -> Vec<String> {
    let per_cent = |chance: u64| format!("{}.{}%", chance / 10, chance % 10);
    // By as much more or less than half of it.
    let half = format!("{}us", weather.delay_max.as_micros() / 2);
    [
        "netem",
        "limit",
        &LIMIT.to_string(),
        "delay",
        &half,
        &half,
        "loss",
        &per_cent(weather.loss),
        "duplicate",
        &per_cent(weather.copies),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Frames that a `netem` let through, and those that it lost.
fn counts(text: &str) -> Result<(u64, u64)> {
    let all: serde_json::Value = serde_json::from_str(text).context("tc prints no JSON")?;
    let all = all.as_array().context("tc prints no list")?;
    let netem = all.iter().find(|qdisc| qdisc["kind"] == "netem");
    let netem = netem.context("the weather is gone")?;
    let count = |name: &str| netem[name].as_u64().context("tc counts nothing");
    Ok((count("packets")?, count("drops")?))
}

/// Runs `tc` where a device is.
fn tc((namespace, _): &End, words: &[&str], more: &[String]) -> Result<String> {
    let mut command = Command::new("tc");
    command.args(words).args(more);
    let done = namespace.run(|| command.output().context("can't run tc"))?;
    let why = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{}", why.trim());
    Ok(String::from_utf8(done.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_weather_is_said_in_tcs_words() {
        let weather = Weather {
            loss: 15,
            copies: 20,
            delay_max: Duration::from_millis(4),
        };
        let said = arguments(weather).join(" ");
        let good = "netem limit 100000 delay 2000us 2000us loss 1.5% duplicate 2.0%";
        assert_eq!(said, good);
    }

    #[test]
    fn frames_are_counted() {
        let text = r#"[{"kind":"netem","handle":"8001:","root":true,"refcnt":2,
            "options":{"limit":100000},"bytes":900,"packets":90,"drops":10,
            "overlimits":0,"requeues":0,"backlog":0,"qlen":0}]"#;
        assert_eq!(counts(text).unwrap(), (90, 10));
        assert!(counts(r#"[{"kind":"noqueue"}]"#).is_err());
    }
}
