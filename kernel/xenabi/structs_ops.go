package xenabi

// SchedShutdown is the argument of SCHEDOP_shutdown and _shutdown_code (sched.h,
// struct sched_shutdown).
type SchedShutdown struct {
	Reason uint32
}

func (s *SchedShutdown) layout(c *codec) {
	c.u32(&s.Reason)
}

// SchedPoll is the argument of SCHEDOP_poll. Ports is the address of NrPorts port numbers of 4 bytes; Timeout is absolute system time in ns, 0 for none (sched.h,
// struct sched_poll).
type SchedPoll struct {
	Ports   uint64
	NrPorts uint32
	Timeout uint64
}

func (s *SchedPoll) layout(c *codec) {
	c.word(&s.Ports)
	c.u32(&s.NrPorts)
	c.u64(&s.Timeout)
}

// SchedRemoteShutdown is the argument of SCHEDOP_remote_shutdown (sched.h,
// struct sched_remote_shutdown).
type SchedRemoteShutdown struct {
	DomID  uint16
	Reason uint32
}

func (s *SchedRemoteShutdown) layout(c *codec) {
	c.u16(&s.DomID)
	c.u32(&s.Reason)
}

// SchedWatchdog is the argument of SCHEDOP_watchdog. Timeout is in seconds (sched.h,
// struct sched_watchdog).
type SchedWatchdog struct {
	ID      uint32
	Timeout uint32
}

func (s *SchedWatchdog) layout(c *codec) {
	c.u32(&s.ID)
	c.u32(&s.Timeout)
}

// SchedPinOverride is the argument of SCHEDOP_pin_override. PCPU is signed in C (sched.h,
// struct sched_pin_override).
type SchedPinOverride struct {
	PCPU uint32
}

func (s *SchedPinOverride) layout(c *codec) {
	c.u32(&s.PCPU)
}

// VCPURegisterRunstate is the argument of VCPUOP_register_runstate_memory_area and (in another struct of the same shape) _register_vcpu_time_memory_area. Addr is a guest virtual address, in the first word (vcpu.h,
// struct vcpu_register_runstate_memory_area).
type VCPURegisterRunstate struct {
	Addr uint64
}

func (s *VCPURegisterRunstate) layout(c *codec) {
	c.u64(&s.Addr)
}

// VCPUSetPeriodicTimer is the argument of VCPUOP_set_periodic_timer (vcpu.h,
// struct vcpu_set_periodic_timer).
type VCPUSetPeriodicTimer struct {
	PeriodNs uint64
}

func (s *VCPUSetPeriodicTimer) layout(c *codec) {
	c.u64(&s.PeriodNs)
}

// VCPUSetSingleshotTimer is the argument of VCPUOP_set_singleshot_timer (vcpu.h,
// struct vcpu_set_singleshot_timer).
type VCPUSetSingleshotTimer struct {
	TimeoutAbsNs uint64
	Flags        uint32
}

func (s *VCPUSetSingleshotTimer) layout(c *codec) {
	c.u64(&s.TimeoutAbsNs)
	c.u32(&s.Flags)
}

// VCPURegisterInfo is the argument of VCPUOP_register_vcpu_info. MFN is a guest frame number for a translated guest (vcpu.h,
// struct vcpu_register_vcpu_info).
type VCPURegisterInfo struct {
	MFN    uint64
	Offset uint32
}

func (s *VCPURegisterInfo) layout(c *codec) {
	c.u64(&s.MFN)
	c.u32(&s.Offset)
	c.field(4, 4)
}

// VCPUGetPhysID is the argument of VCPUOP_get_physid: APIC id in bits 31:0, ACPI id in 63:32 (vcpu.h,
// struct vcpu_get_physid).
type VCPUGetPhysID struct {
	PhysID uint64
}

func (s *VCPUGetPhysID) layout(c *codec) {
	c.u64(&s.PhysID)
}

// VCPURunstateInfo is the result of VCPUOP_get_runstate_info. Times in ns of system time (vcpu.h,
// struct vcpu_runstate_info).
type VCPURunstateInfo struct {
	State          uint32
	StateEntryTime uint64
	Time0          uint64
	Time1          uint64
	Time2          uint64
	Time3          uint64
}

func (s *VCPURunstateInfo) layout(c *codec) {
	c.u32(&s.State)
	c.u64(&s.StateEntryTime)
	c.u64(&s.Time0)
	c.u64(&s.Time1)
	c.u64(&s.Time2)
	c.u64(&s.Time3)
}

// MemoryReservation is the argument of XENMEM_increase_reservation, _decrease_reservation, _populate_physmap and _claim_pages (memory.h,
// struct xen_memory_reservation).
type MemoryReservation struct {
	ExtentStart uint64
	NrExtents   uint64
	ExtentOrder uint32
	MemFlags    uint32
	DomID       uint16
}

func (s *MemoryReservation) layout(c *codec) {
	c.word(&s.ExtentStart)
	c.word(&s.NrExtents)
	c.u32(&s.ExtentOrder)
	c.u32(&s.MemFlags)
	c.u16(&s.DomID)
}

// MemoryDomain is the argument of XENMEM_current_reservation, _maximum_reservation and _maximum_gpfn (memory.h,
// struct xen_memory_domain).
type MemoryDomain struct {
	DomID uint16
}

func (s *MemoryDomain) layout(c *codec) {
	c.u16(&s.DomID)
}

// AddToPhysmap is the argument of XENMEM_add_to_physmap. Space is a MapSpace constant (memory.h,
// struct xen_add_to_physmap).
type AddToPhysmap struct {
	DomID uint16
	Nr    uint16
	Space uint32
	Idx   uint64
	GPFN  uint64
}

func (s *AddToPhysmap) layout(c *codec) {
	c.u16(&s.DomID)
	c.u16(&s.Nr)
	c.u32(&s.Space)
	c.word(&s.Idx)
	c.word(&s.GPFN)
}

// AddToPhysmapBatch is the argument of XENMEM_add_to_physmap_batch (memory.h,
// struct xen_add_to_physmap_batch).
type AddToPhysmapBatch struct {
	DomID        uint16
	Space        uint16
	Nr           uint16
	ForeignDomID uint16
	Idxs         uint64
	GPFNs        uint64
	Errs         uint64
}

func (s *AddToPhysmapBatch) layout(c *codec) {
	c.u16(&s.DomID)
	c.u16(&s.Space)
	c.u16(&s.Nr)
	c.u16(&s.ForeignDomID)
	c.word(&s.Idxs)
	c.word(&s.GPFNs)
	c.word(&s.Errs)
}

// RemoveFromPhysmap is the argument of XENMEM_remove_from_physmap (memory.h,
// struct xen_remove_from_physmap).
type RemoveFromPhysmap struct {
	DomID uint16
	GPFN  uint64
}

func (s *RemoveFromPhysmap) layout(c *codec) {
	c.u16(&s.DomID)
	c.word(&s.GPFN)
}

// MemoryMap is the argument of XENMEM_memory_map and _machine_memory_map (memory.h,
// struct xen_memory_map).
type MemoryMap struct {
	NrEntries uint32
	Buffer    uint64
}

func (s *MemoryMap) layout(c *codec) {
	c.u32(&s.NrEntries)
	c.word(&s.Buffer)
}

// MemAcquireResource is the argument of XENMEM_acquire_resource (memory.h,
// struct xen_mem_acquire_resource).
type MemAcquireResource struct {
	DomID     uint16
	Type      uint16
	ID        uint32
	NrFrames  uint32
	Pad       uint32
	Frame     uint64
	FrameList uint64
}

func (s *MemAcquireResource) layout(c *codec) {
	c.u16(&s.DomID)
	c.u16(&s.Type)
	c.u32(&s.ID)
	c.u32(&s.NrFrames)
	c.u32(&s.Pad)
	c.u64(&s.Frame)
	c.word(&s.FrameList)
}

// HVMParam is the argument of HVMOP_set_param and _get_param. Index is an HVMParam constant (hvm/hvm_op.h,
// struct xen_hvm_param).
type HVMParam struct {
	DomID uint16
	Index uint32
	Value uint64
}

func (s *HVMParam) layout(c *codec) {
	c.u16(&s.DomID)
	c.field(2, 2)
	c.u32(&s.Index)
	c.u64(&s.Value)
}

// HVMEvtchnUpcallVector is the argument of HVMOP_set_evtchn_upcall_vector (hvm/hvm_op.h,
// struct xen_hvm_evtchn_upcall_vector).
type HVMEvtchnUpcallVector struct {
	VCPU   uint32
	Vector uint8
}

func (s *HVMEvtchnUpcallVector) layout(c *codec) {
	c.u32(&s.VCPU)
	c.u8(&s.Vector)
}

// HVMGetTime is the result of HVMOP_get_time, in ns of system time (hvm/hvm_op.h,
// struct xen_hvm_get_time).
type HVMGetTime struct {
	Now uint64
}

func (s *HVMGetTime) layout(c *codec) {
	c.u64(&s.Now)
}

// FeatureInfo is the argument of XENVER_get_features (version.h,
// struct xen_feature_info).
type FeatureInfo struct {
	SubmapIdx uint32
	Submap    uint32
}

func (s *FeatureInfo) layout(c *codec) {
	c.u32(&s.SubmapIdx)
	c.u32(&s.Submap)
}

// PlatformParameters is the result of XENVER_platform_parameters (version.h,
// struct xen_platform_parameters).
type PlatformParameters struct {
	VirtStart uint64
}

func (s *PlatformParameters) layout(c *codec) {
	c.word(&s.VirtStart)
}

// MulticallEntry is the entry of the multicall hypercall (xen.h,
// struct multicall_entry).
type MulticallEntry struct {
	Op     uint64
	Result uint64
	Arg0   uint64
	Arg1   uint64
	Arg2   uint64
	Arg3   uint64
	Arg4   uint64
	Arg5   uint64
}

func (s *MulticallEntry) layout(c *codec) {
	c.word(&s.Op)
	c.word(&s.Result)
	c.word(&s.Arg0)
	c.word(&s.Arg1)
	c.word(&s.Arg2)
	c.word(&s.Arg3)
	c.word(&s.Arg4)
	c.word(&s.Arg5)
}

// XSMessage is the header of a xenstore message (io/xs_wire.h,
// struct xsd_sockmsg).
type XSMessage struct {
	Type  uint32
	ReqID uint32
	TxID  uint32
	Len   uint32
}

func (s *XSMessage) layout(c *codec) {
	c.u32(&s.Type)
	c.u32(&s.ReqID)
	c.u32(&s.TxID)
	c.u32(&s.Len)
}
