//! Sequences of layer names, each kept once for all flows that have it.

use std::collections::HashMap;

use crate::layers::Layer;

/// The sequences of a table, by number.
#[derive(Debug, Default)]
pub struct Paths {
    numbers: HashMap<Box<[Layer]>, u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    layers: Box<[Layer]>,
    text: Box<str>,
    flows: u32,
}

impl Paths {
    /// The number of a sequence, for one more flow.
    pub fn take(&mut self, layers: &[Layer]) -> u32 {
        if let Some(number) = self.numbers.get(layers) {
            if let Some(entry) = self.entries.get_mut(*number as usize) {
                entry.flows += 1;
                return *number;
            }
        }
        let names: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
        let entry = Entry {
            layers: layers.into(),
            text: names.join("/").into(),
            flows: 1,
        };
        let number = match self.free.pop() {
            Some(number) => number,
            None => self.entries.len() as u32,
        };
        match self.entries.get_mut(number as usize) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.numbers.insert(layers.into(), number);
        number
    }

    /// A flow with this sequence has gone.
    pub fn give_back(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.flows = entry.flows.saturating_sub(1);
            if entry.flows == 0 {
                self.numbers.remove(&entry.layers);
                self.free.push(number);
            }
        }
    }

    /// The text of a sequence, as in `LayersPath`.
    pub fn text(&self, number: u32) -> &str {
        self.entries
            .get(number as usize)
            .map_or("", |entry| &entry.text)
    }

    /// Sequences in use.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// None in use.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_lives_as_long_as_its_flows() {
        let mut paths = Paths::default();
        let tcp = paths.take(&[Layer::Ethernet, Layer::IPv4, Layer::Tcp]);
        let udp = paths.take(&[Layer::Ethernet, Layer::IPv4, Layer::Udp]);
        assert_eq!(paths.take(&[Layer::Ethernet, Layer::IPv4, Layer::Tcp]), tcp);
        assert_eq!(paths.text(tcp), "Ethernet/IPv4/TCP");
        paths.give_back(tcp);
        assert_eq!(paths.len(), 2);
        paths.give_back(tcp);
        assert_eq!(paths.len(), 1);
        let arp = paths.take(&[Layer::Ethernet, Layer::Arp]);
        assert_eq!(arp, tcp);
        assert_eq!(paths.text(arp), "Ethernet/ARP");
        assert_eq!(paths.text(udp), "Ethernet/IPv4/UDP");
    }
}
