//! The properties of a device, for either layout of `cudaDeviceProp`.
//!
//! Each field is an attribute of the driver, so both layouts are filled by one list: what is
//! common to them, and what only CUDA 12 or only CUDA 13 has.

use vgpu_abi::cudart::cudaUUID_t;
use vgpu_abi::{cudart12, cudart13};

use crate::driver::{self, Driver};
use crate::result::{Error, Result};

/// The last attribute that every driver since CUDA 11.0 knows. A later one may be unknown to an
/// older driver, whose devices then lack the feature; an earlier one is always answered, and a
/// client that got 0 for its warp size would divide by it.
const LAST_BASIC_ATTRIBUTE: i32 = 101;

/// Answers questions about one device.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    driver: &'static Driver,
    handle: i32,
}

impl Device {
    /// Finds a device.
    ///
    /// # Errors
    /// `INVALID_DEVICE` for an ordinal that no device has.
    pub fn new(ordinal: i32) -> Result<Self> {
        let (driver, handle) = driver::device(ordinal)?;
        Ok(Self { driver, handle })
    }

    /// Returns an attribute by the driver's number.
    pub fn int(self, attribute: i32) -> Result<i32> {
        let mut value = 0;
        match self.driver.device_get_attribute(&mut value, attribute, self.handle) {
            Err(Error::INVALID_VALUE) if attribute > LAST_BASIC_ATTRIBUTE => Ok(0),
            answer => answer.map(|()| value),
        }
    }

    /// Returns an attribute that counts bytes.
    pub fn bytes(self, attribute: i32) -> Result<usize> {
        // The driver's attributes are 32 bits wide; none of a size is negative.
        Ok(self.int(attribute)?.max(0) as usize)
    }

    /// Returns attributes that belong together, such as the sides of the largest grid.
    pub fn ints<const COUNT: usize>(self, attributes: [i32; COUNT]) -> Result<[i32; COUNT]> {
        let mut values = [0; COUNT];
        for (value, attribute) in values.iter_mut().zip(attributes) {
            *value = self.int(attribute)?;
        }
        Ok(values)
    }

    /// Returns an attribute that is a set of bits.
    pub fn bits(self, attribute: i32) -> Result<u32> {
        self.int(attribute).map(i32::cast_unsigned)
    }

    /// Returns the name, with its end mark.
    pub fn name(self) -> Result<[u8; 256]> {
        let mut bytes = [0; 256];
        self.driver.device_get_name(&mut bytes, 256, self.handle)?;
        bytes[255] = 0;
        Ok(bytes)
    }

    /// Returns the UUID.
    pub fn uuid(self) -> Result<[u8; 16]> {
        let mut uuid = [0; 16];
        match self.driver.device_get_uuid_v2(&mut uuid, self.handle) {
            // A driver older than CUDA 11.4 has the first version only.
            Err(Error::INSUFFICIENT_DRIVER) => {
                self.driver.device_get_uuid(&mut uuid, self.handle)?;
            }
            answer => answer?,
        }
        Ok(uuid)
    }

    /// Returns the size of the memory in bytes.
    pub fn memory_bytes(self) -> Result<usize> {
        let mut bytes = 0;
        self.driver.device_total_mem(&mut bytes, self.handle)?;
        Ok(bytes)
    }
}

/// Returns the properties of a device in the layout of the library's major.
pub fn get_device_properties<P: Layout>(device: i32) -> Result<P> {
    P::of(Device::new(device)?)
}

/// As [`get_device_properties`]: programs of CUDA 12 call it by this name.
pub fn get_device_properties_v2<P: Layout>(device: i32) -> Result<P> {
    get_device_properties(device)
}

/// A layout of `cudaDeviceProp`.
pub trait Layout: Sized {
    /// Reads the properties of a device.
    ///
    /// # Errors
    /// Those of the driver.
    fn of(device: Device) -> Result<Self>;
}

/// Fills a layout: the fields that both have, then those that are listed. A number is that of
/// the driver's attribute that the field shows (`CUdevice_attribute`).
macro_rules! layout {
    ($kind:ty, reserved: $reserved:literal; int $($int:ident = $int_attribute:literal,)*;
        bits $($bits:ident = $bits_attribute:literal,)*;) => {
        impl Layout for $kind {
            fn of(d: Device) -> Result<Self> {
                // The LUID belongs to Windows; elsewhere it is undefined, and ours is zero.
                Ok(Self {
                    name: d.name()?, uuid: cudaUUID_t { bytes: d.uuid()? }, luid: [0; 8],
                    luidDeviceNodeMask: 0,
                    totalGlobalMem: d.memory_bytes()?, sharedMemPerBlock: d.bytes(8)?,
                    regsPerBlock: d.int(12)?, warpSize: d.int(10)?, memPitch: d.bytes(11)?,
                    maxThreadsPerBlock: d.int(1)?, maxThreadsDim: d.ints([2, 3, 4])?,
                    maxGridSize: d.ints([5, 6, 7])?, totalConstMem: d.bytes(9)?,
                    major: d.int(75)?, minor: d.int(76)?, textureAlignment: d.bytes(14)?,
                    texturePitchAlignment: d.bytes(51)?, multiProcessorCount: d.int(16)?,
                    integrated: d.int(18)?, canMapHostMemory: d.int(19)?,
                    maxTexture1D: d.int(21)?, maxTexture1DMipmap: d.int(77)?,
                    maxTexture2D: d.ints([22, 23])?, maxTexture2DMipmap: d.ints([73, 74])?,
                    maxTexture2DLinear: d.ints([70, 71, 72])?,
                    maxTexture2DGather: d.ints([45, 46])?, maxTexture3D: d.ints([24, 25, 26])?,
                    maxTexture3DAlt: d.ints([47, 48, 49])?, maxTextureCubemap: d.int(52)?,
                    maxTexture1DLayered: d.ints([42, 43])?,
                    maxTexture2DLayered: d.ints([27, 28, 29])?,
                    maxTextureCubemapLayered: d.ints([53, 54])?, maxSurface1D: d.int(55)?,
                    maxSurface2D: d.ints([56, 57])?, maxSurface3D: d.ints([58, 59, 60])?,
                    maxSurface1DLayered: d.ints([61, 62])?,
                    maxSurface2DLayered: d.ints([63, 64, 65])?, maxSurfaceCubemap: d.int(66)?,
                    maxSurfaceCubemapLayered: d.ints([67, 68])?, surfaceAlignment: d.bytes(30)?,
                    concurrentKernels: d.int(31)?, ECCEnabled: d.int(32)?, pciBusID: d.int(33)?,
                    pciDeviceID: d.int(34)?, pciDomainID: d.int(50)?, tccDriver: d.int(35)?,
                    asyncEngineCount: d.int(40)?, unifiedAddressing: d.int(41)?,
                    memoryBusWidth: d.int(37)?, l2CacheSize: d.int(38)?,
                    persistingL2CacheMaxSize: d.int(108)?,
                    maxThreadsPerMultiProcessor: d.int(39)?,
                    streamPrioritiesSupported: d.int(78)?, globalL1CacheSupported: d.int(79)?,
                    localL1CacheSupported: d.int(80)?, sharedMemPerMultiprocessor: d.bytes(81)?,
                    regsPerMultiprocessor: d.int(82)?, managedMemory: d.int(83)?,
                    isMultiGpuBoard: d.int(84)?, multiGpuBoardGroupID: d.int(85)?,
                    hostNativeAtomicSupported: d.int(86)?, pageableMemoryAccess: d.int(88)?,
                    concurrentManagedAccess: d.int(89)?, computePreemptionSupported: d.int(90)?,
                    canUseHostPointerForRegisteredMem: d.int(91)?, cooperativeLaunch: d.int(95)?,
                    sharedMemPerBlockOptin: d.bytes(97)?,
                    pageableMemoryAccessUsesHostPageTables: d.int(100)?,
                    directManagedMemAccessFromHost: d.int(101)?,
                    maxBlocksPerMultiProcessor: d.int(106)?,
                    accessPolicyMaxWindowSize: d.int(109)?,
                    reservedSharedMemPerBlock: d.bytes(111)?, hostRegisterSupported: d.int(99)?,
                    sparseCudaArraySupported: d.int(112)?,
                    hostRegisterReadOnlySupported: d.int(113)?,
                    timelineSemaphoreInteropSupported: d.int(114)?,
                    memoryPoolsSupported: d.int(115)?, gpuDirectRDMASupported: d.int(116)?,
                    gpuDirectRDMAFlushWritesOptions: d.bits(117)?,
                    gpuDirectRDMAWritesOrdering: d.int(118)?,
                    memoryPoolSupportedHandleTypes: d.bits(119)?,
                    deferredMappingCudaArraySupported: d.int(121)?,
                    ipcEventSupported: d.int(125)?, clusterLaunch: d.int(120)?,
                    unifiedFunctionPointers: d.int(129)?,
                    $($int: d.int($int_attribute)?,)*
                    $($bits: d.bits($bits_attribute)?,)*
                    reserved: [0; $reserved],
                })
            }
        }
    };
}

layout! {
    cudart12::cudaDeviceProp, reserved: 63;
    int
        clockRate = 13,
        deviceOverlap = 15,
        kernelExecTimeoutEnabled = 17,
        computeMode = 20,
        maxTexture1DLinear = 69,
        memoryClockRate = 36,
        singleToDoublePrecisionPerfRatio = 87,
        cooperativeMultiDeviceLaunch = 96,
    ;
    bits;
}

layout! {
    cudart13::cudaDeviceProp, reserved: 56;
    int
        deviceNumaConfig = 130,
        deviceNumaId = 131,
        mpsEnabled = 133,
        hostNumaId = 134,
        hostNumaMultinodeIpcSupported = 143,
    ;
    bits
        gpuPciDeviceID = 139,
        gpuPciSubsystemID = 140,
    ;
}
