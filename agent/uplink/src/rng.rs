//! A small seeded generator for jitter and masking keys. It is not cryptographic: inside TLS a mask only has to
//! differ from frame to frame, and jitter only has to differ from camera to camera.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn from_bytes(seed: [u8; 16]) -> Self {
        let wide = u128::from_le_bytes(seed);
        let mut rng = Self(wide as u64);
        let mixed = rng.next_u64();
        Self(mixed ^ (wide >> 64) as u64)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value in `0..=max`; the bias of the multiplication is far below what jitter can show.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        ((u128::from(self.next_u64()) * (u128::from(max) + 1)) >> 64) as u64
    }

    pub(crate) fn mask(&mut self) -> [u8; 4] {
        (self.next_u64() as u32).to_le_bytes()
    }
}
