//! Registers that the device fills (PTX ISA, "Special Registers").

/// A register that the device fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Cluster(usize),
    Clusters(usize),
    BlockOfCluster(usize),
    BlocksOfCluster(usize),
    RankInCluster,
    RanksOfCluster,
    /// Whether the launch asked for a cluster.
    IsExplicitCluster,
    Lane,
    Warp,
    Warps,
    LaneMask(LaneMask),
    SharedTotal,
    SharedDynamic,
    /// Address of where the blocks of a cooperative launch meet, in two halves.
    WorkspaceHigh,
    WorkspaceLow,
    /// The same on every thread.
    Fixed(u32),
}

/// Which lanes, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneMask {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Special {
    /// Reads the name of a special register; clocks are none, since they do not stand still.
    pub fn read(name: &str) -> Option<Self> {
        let (base, axis) = match name.split_once('.') {
            Some((base, "x")) => (base, 0),
            Some((base, "y")) => (base, 1),
            Some((base, "z")) => (base, 2),
            Some(_) => return None,
            None => (name, 0),
        };
        Some(match base {
            "%tid" => Self::Thread(axis),
            "%ntid" => Self::Threads(axis),
            "%ctaid" => Self::Block(axis),
            "%nctaid" => Self::Blocks(axis),
            "%clusterid" => Self::Cluster(axis),
            "%nclusterid" => Self::Clusters(axis),
            "%cluster_ctaid" => Self::BlockOfCluster(axis),
            "%cluster_nctaid" => Self::BlocksOfCluster(axis),
            "%cluster_ctarank" => Self::RankInCluster,
            "%cluster_nctarank" => Self::RanksOfCluster,
            "%is_explicit_cluster" => Self::IsExplicitCluster,
            "%laneid" => Self::Lane,
            "%warpid" => Self::Warp,
            "%nwarpid" => Self::Warps,
            "%lanemask_eq" => Self::LaneMask(LaneMask::Equal),
            "%lanemask_lt" => Self::LaneMask(LaneMask::Less),
            "%lanemask_le" => Self::LaneMask(LaneMask::LessOrEqual),
            "%lanemask_gt" => Self::LaneMask(LaneMask::Greater),
            "%lanemask_ge" => Self::LaneMask(LaneMask::GreaterOrEqual),
            "%total_smem_size" => Self::SharedTotal,
            "%dynamic_smem_size" => Self::SharedDynamic,
            "%smid" | "%gridid" => Self::Fixed(0),
            // What a driver tells a kernel (the header `cooperative_groups/details/driver_abi.h`).
            "%envreg1" => Self::WorkspaceHigh,
            "%envreg2" => Self::WorkspaceLow,
            // That of an H100.
            "%nsmid" => Self::Fixed(132),
            _ => return None,
        })
    }
}
