//! `/proc/net/dev`: what each interface has carried.

use super::{Interface, clean_name};

/// A line; `None` for its headings and for what cannot be read.
#[must_use]
pub fn parse_line(line: &str) -> Option<Interface> {
    let (name, numbers) = line.rsplit_once(':')?;
    let mut counters = [0; 4];
    let numbers = numbers.split_ascii_whitespace();
    // Received bytes, packets, and six more; then sent bytes and packets.
    for (index, number) in numbers.enumerate() {
        let place = match index {
            0 => 1,
            1 => 3,
            8 => 0,
            9 => 2,
            _ => continue,
        };
        *counters.get_mut(place)? = number.parse().ok()?;
    }
    Some(Interface {
        name: clean_name(name.trim()),
        counters,
    })
}
