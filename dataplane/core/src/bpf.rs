//! Classic BPF in user space, for filters that the kernel cannot run.
//!
//! The kernel takes the outer VLAN tag out of a frame before a filter sees it, so a filter that
//! says `vlan 10` matches nothing there. Those run here, on the frame with its tag back in place.
//! The machine is that of bpf(4); a load outside the frame refuses it, as in the kernel.

use crate::ring::{Instruction, MAX_INSTRUCTIONS};

const MEMORY: usize = 16;

/// A verified program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

/// Where an instruction class, mode or operation is in its code (linux/bpf_common.h).
mod code {
    pub const LD: u16 = 0x00;
    pub const LDX: u16 = 0x01;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const ALU: u16 = 0x04;
    pub const JMP: u16 = 0x05;
    pub const RET: u16 = 0x06;
    pub const MISC: u16 = 0x07;
    pub const IMM: u16 = 0x00;
    pub const ABS: u16 = 0x20;
    pub const IND: u16 = 0x40;
    pub const MEM: u16 = 0x60;
    pub const LEN: u16 = 0x80;
    pub const MSH: u16 = 0xa0;
    pub const X: u16 = 0x08;
}

impl Program {
    /// Verifies a program: jumps go forward and stay inside, memory cells exist, the end returns.
    /// None for one that does not.
    pub fn new(instructions: &[Instruction]) -> Option<Program> {
        if instructions.len() > MAX_INSTRUCTIONS || instructions.last()?.0 & 7 != code::RET {
            return None;
        }
        for (at, &(code, jt, jf, k)) in instructions.iter().enumerate() {
            let rest = instructions.len() - at - 1;
            let valid = match code & 7 {
                code::JMP if code & 0xf0 == 0 => (k as usize) < rest,
                code::JMP => usize::from(jt.max(jf)) < rest && code & 0xf0 <= 0x40,
                code::LD | code::LDX if code & 0xe0 == code::MEM => (k as usize) < MEMORY,
                code::LD | code::LDX => code & 0xe0 <= code::MSH,
                code::ST | code::STX => (k as usize) < MEMORY,
                code::ALU => code & 0xf0 <= 0xa0,
                _ => true,
            };
            if !valid {
                return None;
            }
        }
        Some(Program(instructions.to_vec()))
    }

    /// How much of `frame` is wanted; 0 = it does not match. `wire_bytes` is its whole length.
    pub fn run(&self, frame: &[u8], wire_bytes: u32) -> u32 {
        self.steps(frame, wire_bytes).unwrap_or(0)
    }

    /// None when a load is outside the frame, or a divisor 0.
    fn steps(&self, frame: &[u8], wire_bytes: u32) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY];
        let mut at = 0usize;
        // Jumps only go forward, so this ends.
        while let Some(&(code, jt, jf, k)) = self.0.get(at) {
            at += 1;
            match code & 7 {
                code::LD => {
                    a = match code & 0xe0 {
                        code::IMM => k,
                        code::ABS => load(frame, code, k)?,
                        code::IND => load(frame, code, x.checked_add(k)?)?,
                        code::MEM => *memory.get(k as usize)?,
                        code::LEN => wire_bytes,
                        _ => return None,
                    }
                }
                code::LDX => {
                    x = match code & 0xe0 {
                        code::IMM => k,
                        code::MEM => *memory.get(k as usize)?,
                        code::LEN => wire_bytes,
                        // Length of an IPv4 header.
                        code::MSH => u32::from(*frame.get(k as usize)? & 0x0f) * 4,
                        _ => return None,
                    }
                }
                code::ST => *memory.get_mut(k as usize)? = a,
                code::STX => *memory.get_mut(k as usize)? = x,
                code::ALU => a = compute(code, a, if code & code::X == 0 { k } else { x })?,
                code::JMP if code & 0xf0 == 0 => at += k as usize,
                code::JMP => {
                    let operand = if code & code::X == 0 { k } else { x };
                    let taken = match code & 0xf0 {
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    at += usize::from(if taken { jt } else { jf });
                }
                code::RET => {
                    return Some(match code & 0x18 {
                        0x10 => a,
                        code::X => x,
                        _ => k,
                    })
                }
                code::MISC if code & 0x80 == 0 => x = a,
                _ => a = x,
            }
        }
        None
    }
}

fn load(frame: &[u8], code: u16, offset: u32) -> Option<u32> {
    let bytes = frame.get(offset as usize..)?;
    match code & 0x18 {
        0x00 => Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)),
        0x08 => Some(u32::from(u16::from_be_bytes(
            bytes.get(..2)?.try_into().ok()?,
        ))),
        0x10 => Some(u32::from(*bytes.first()?)),
        _ => None,
    }
}

fn compute(code: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 => a.checked_shl(operand).unwrap_or(0),
        0x70 => a.checked_shr(operand).unwrap_or(0),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(operand)?,
        _ => a ^ operand,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `vlan 10`, as libpcap 1.10 compiles it for Ethernet.
    const VLAN_10: &[Instruction] = &[
        (0x28, 0, 0, 12),
        (0x15, 2, 0, 0x8100),
        (0x15, 1, 0, 0x88a8),
        (0x15, 0, 4, 0x9100),
        (0x28, 0, 0, 14),
        (0x54, 0, 0, 0x0fff),
        (0x15, 0, 1, 10),
        (0x06, 0, 0, 256),
        (0x06, 0, 0, 0),
    ];

    fn tagged(id: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(0x8100u16.to_be_bytes());
        frame.extend((0x2000 | id).to_be_bytes());
        frame.resize(60, 0);
        frame
    }

    #[test]
    fn a_vlan_filter_tells_the_tags_apart() {
        let Some(program) = Program::new(VLAN_10) else {
            unreachable!()
        };
        assert_eq!(program.run(&tagged(10), 60), 256);
        assert_eq!(program.run(&tagged(11), 60), 0);
        assert_eq!(program.run(&[0; 60], 60), 0);
        assert_eq!(program.run(&tagged(10)[..15], 15), 0);
    }

    #[test]
    fn header_lengths_ports_and_arithmetic_are_computed() {
        // ldx 4*([14]&0xf); ldh [x+16]; sub 1; tax; st/ld memory; ret a
        let program = [
            (0xb1, 0, 0, 14),
            (0x48, 0, 0, 16),
            (0x14, 0, 0, 1),
            (0x02, 0, 0, 15),
            (0x00, 0, 0, 7),
            (0x60, 0, 0, 15),
            (0x16, 0, 0, 0),
        ];
        let Some(program) = Program::new(&program) else {
            unreachable!()
        };
        let mut frame = vec![0u8; 60];
        frame[14] = 0x45;
        frame[36..38].copy_from_slice(&53u16.to_be_bytes());
        assert_eq!(program.run(&frame, 60), 52);
    }

    #[test]
    fn programs_that_could_run_away_are_refused() {
        assert_eq!(Program::new(&[]), None);
        assert_eq!(Program::new(&[(0x28, 0, 0, 12)]), None);
        assert_eq!(Program::new(&[(0x05, 0, 0, 1), (0x06, 0, 0, 0)]), None);
        assert_eq!(Program::new(&[(0x15, 0, 1, 1), (0x06, 0, 0, 0)]), None);
        assert_eq!(Program::new(&[(0x02, 0, 0, 16), (0x06, 0, 0, 0)]), None);
    }

    proptest! {
        #[test]
        fn any_verified_program_ends_without_panic(
            program in proptest::collection::vec(
                (0u16..0x100, 0u8..8, 0u8..8, prop_oneof![0u32..20, any::<u32>()]), 0..30),
            frame in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut program = program;
            program.push((0x06, 0, 0, 1));
            if let Some(program) = Program::new(&program) {
                program.run(&frame, 80);
            }
        }
    }
}
