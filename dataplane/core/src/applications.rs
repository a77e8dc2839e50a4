//! Names of applications: the last layer, or what the settings call its port (flows.md §2.7).

use std::collections::HashMap;

use crate::flow::{Ports, Protocol};
use crate::layers::{Layer, LAYERS};

/// Numbers from here on are names of ports.
const FIRST_NAME: u16 = 256;

/// Names by port, and after how long a silent flow of a name ends.
#[derive(Debug, Clone, Default)]
pub struct Applications {
    names: Vec<Box<str>>,
    tcp: HashMap<u16, u16>,
    udp: HashMap<u16, u16>,
    timeouts_ms: HashMap<u16, i64>,
}

impl Applications {
    /// Calls TCP or UDP flows of `port` by `name`, upper-cased. At most 65,280 names.
    pub fn name_port(&mut self, protocol: Protocol, port: u16, name: &str) {
        let name = name.to_uppercase();
        let known = self.names.iter().position(|known| **known == *name);
        let place = match known {
            Some(place) => place,
            None => {
                self.names.push(name.into());
                self.names.len() - 1
            }
        };
        let Ok(number) = u16::try_from(place + usize::from(FIRST_NAME)) else {
            return;
        };
        match protocol {
            Protocol::Tcp => self.tcp.insert(port, number),
            Protocol::Udp => self.udp.insert(port, number),
            Protocol::Sctp => None,
        };
    }

    /// Ends flows of the application `name`, in any case, after `timeout_ms` without a packet.
    /// Names of ports have to be told before.
    pub fn end_after(&mut self, name: &str, timeout_ms: i64) {
        let name = name.to_uppercase();
        for layer in LAYERS {
            if layer.name().to_uppercase() == name {
                self.timeouts_ms.insert(u16::from(*layer as u8), timeout_ms);
            }
        }
        if let Some(place) = self.names.iter().position(|known| **known == *name) {
            if let Ok(number) = u16::try_from(place + usize::from(FIRST_NAME)) {
                self.timeouts_ms.insert(number, timeout_ms);
            }
        }
    }

    /// Number of the application of a flow whose last layer is `last`. The source port goes first.
    pub fn number(&self, last: Layer, ports: Option<&Ports>) -> u16 {
        ports
            .and_then(|ports| {
                let names = match ports.protocol {
                    Protocol::Tcp => &self.tcp,
                    Protocol::Udp => &self.udp,
                    Protocol::Sctp => return None,
                };
                names.get(&ports.a).or_else(|| names.get(&ports.b)).copied()
            })
            .unwrap_or(u16::from(last as u8))
    }

    /// The name with this number.
    pub fn name(&self, number: u16) -> &str {
        match number.checked_sub(FIRST_NAME) {
            Some(place) => self.names.get(usize::from(place)).map_or("", |name| name),
            None => LAYERS
                .get(usize::from(number))
                .map_or("", |layer| layer.name()),
        }
    }

    /// After how long without a packet flows of this application end, if told.
    pub fn timeout_ms(&self, number: u16) -> Option<i64> {
        self.timeouts_ms.get(&number).copied()
    }

    /// Nothing ends before the table says so.
    pub fn has_timeouts(&self) -> bool {
        !self.timeouts_ms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(protocol: Protocol, a: u16, b: u16) -> Ports {
        Ports { protocol, a, b }
    }

    #[test]
    fn the_source_port_names_before_the_target() {
        let mut applications = Applications::default();
        applications.name_port(Protocol::Tcp, 80, "http");
        applications.name_port(Protocol::Tcp, 8080, "Proxy");
        let name = |ports: &Ports| {
            let number = applications.number(Layer::Tcp, Some(ports));
            applications.name(number).to_owned()
        };
        assert_eq!(name(&ports(Protocol::Tcp, 40_000, 80)), "HTTP");
        assert_eq!(name(&ports(Protocol::Tcp, 8080, 80)), "PROXY");
        assert_eq!(name(&ports(Protocol::Udp, 1, 80)), "TCP");
        assert_eq!(name(&ports(Protocol::Sctp, 1, 80)), "TCP");
    }

    #[test]
    fn timeouts_go_by_name_in_any_case() {
        let mut applications = Applications::default();
        applications.name_port(Protocol::Tcp, 80, "http");
        applications.end_after("arp", 10_000);
        applications.end_after("Http", 5_000);
        assert_eq!(applications.timeout_ms(Layer::Arp as u16), Some(10_000));
        assert_eq!(applications.timeout_ms(FIRST_NAME), Some(5_000));
        assert_eq!(applications.timeout_ms(Layer::Tcp as u16), None);
    }
}
