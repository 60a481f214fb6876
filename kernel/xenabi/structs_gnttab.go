package xenabi

// GnttabMapGrantRef is the argument of GNTTABOP_map_grant_ref (grant_table.h,
// struct gnttab_map_grant_ref).
type GnttabMapGrantRef struct {
	HostAddr   uint64
	Flags      uint32
	Ref        uint32
	DomID      uint16
	Status     GnttabStatus
	Handle     uint32
	DevBusAddr uint64
}

func (s *GnttabMapGrantRef) layout(c *codec) {
	c.u64(&s.HostAddr)
	c.u32(&s.Flags)
	c.u32(&s.Ref)
	c.u16(&s.DomID)
	c.status(&s.Status)
	c.u32(&s.Handle)
	c.u64(&s.DevBusAddr)
}

// GnttabUnmapGrantRef is the argument of GNTTABOP_unmap_grant_ref (grant_table.h,
// struct gnttab_unmap_grant_ref).
type GnttabUnmapGrantRef struct {
	HostAddr   uint64
	DevBusAddr uint64
	Handle     uint32
	Status     GnttabStatus
}

func (s *GnttabUnmapGrantRef) layout(c *codec) {
	c.u64(&s.HostAddr)
	c.u64(&s.DevBusAddr)
	c.u32(&s.Handle)
	c.status(&s.Status)
}

// GnttabSetupTable is the argument of GNTTABOP_setup_table (grant_table.h,
// struct gnttab_setup_table).
type GnttabSetupTable struct {
	DomID     uint16
	NrFrames  uint32
	Status    GnttabStatus
	FrameList uint64
}

func (s *GnttabSetupTable) layout(c *codec) {
	c.u16(&s.DomID)
	c.u32(&s.NrFrames)
	c.status(&s.Status)
	c.word(&s.FrameList)
}

// GnttabTransfer is the argument of GNTTABOP_transfer (grant_table.h,
// struct gnttab_transfer).
type GnttabTransfer struct {
	MFN    uint64
	DomID  uint16
	Ref    uint32
	Status GnttabStatus
}

func (s *GnttabTransfer) layout(c *codec) {
	c.word(&s.MFN)
	c.u16(&s.DomID)
	c.u32(&s.Ref)
	c.status(&s.Status)
}

// GnttabCopy is the argument of GNTTABOP_copy. SourceFrame and DestFrame are u.gmfn; with the GNTCOPY_*_gref flag their low 32 bits are u.ref (grant_table.h,
// struct gnttab_copy).
type GnttabCopy struct {
	SourceFrame  uint64
	SourceDomID  uint16
	SourceOffset uint16
	DestFrame    uint64
	DestDomID    uint16
	DestOffset   uint16
	Len          uint16
	Flags        uint16
	Status       GnttabStatus
}

func (s *GnttabCopy) layout(c *codec) {
	c.word(&s.SourceFrame)
	c.u16(&s.SourceDomID)
	c.u16(&s.SourceOffset)
	c.align()
	c.word(&s.DestFrame)
	c.u16(&s.DestDomID)
	c.u16(&s.DestOffset)
	c.align()
	c.u16(&s.Len)
	c.u16(&s.Flags)
	c.status(&s.Status)
}

// GnttabQuerySize is the argument of GNTTABOP_query_size (grant_table.h,
// struct gnttab_query_size).
type GnttabQuerySize struct {
	DomID       uint16
	NrFrames    uint32
	MaxNrFrames uint32
	Status      GnttabStatus
}

func (s *GnttabQuerySize) layout(c *codec) {
	c.u16(&s.DomID)
	c.u32(&s.NrFrames)
	c.u32(&s.MaxNrFrames)
	c.status(&s.Status)
}

// GnttabUnmapAndReplace is the argument of GNTTABOP_unmap_and_replace (grant_table.h,
// struct gnttab_unmap_and_replace).
type GnttabUnmapAndReplace struct {
	HostAddr uint64
	NewAddr  uint64
	Handle   uint32
	Status   GnttabStatus
}

func (s *GnttabUnmapAndReplace) layout(c *codec) {
	c.u64(&s.HostAddr)
	c.u64(&s.NewAddr)
	c.u32(&s.Handle)
	c.status(&s.Status)
}

// GnttabSetVersion is the argument of GNTTABOP_set_version (grant_table.h,
// struct gnttab_set_version).
type GnttabSetVersion struct {
	Version uint32
}

func (s *GnttabSetVersion) layout(c *codec) {
	c.u32(&s.Version)
}

// GnttabGetStatusFrames is the argument of GNTTABOP_get_status_frames (grant_table.h,
// struct gnttab_get_status_frames).
type GnttabGetStatusFrames struct {
	NrFrames  uint32
	DomID     uint16
	Status    GnttabStatus
	FrameList uint64
}

func (s *GnttabGetStatusFrames) layout(c *codec) {
	c.u32(&s.NrFrames)
	c.u16(&s.DomID)
	c.status(&s.Status)
	c.word(&s.FrameList)
}

// GnttabGetVersion is the argument of GNTTABOP_get_version (grant_table.h,
// struct gnttab_get_version).
type GnttabGetVersion struct {
	DomID   uint16
	Version uint32
}

func (s *GnttabGetVersion) layout(c *codec) {
	c.u16(&s.DomID)
	c.field(2, 2)
	c.u32(&s.Version)
}

// GnttabSwapGrantRef is the argument of GNTTABOP_swap_grant_ref (grant_table.h,
// struct gnttab_swap_grant_ref).
type GnttabSwapGrantRef struct {
	RefA   uint32
	RefB   uint32
	Status GnttabStatus
}

func (s *GnttabSwapGrantRef) layout(c *codec) {
	c.u32(&s.RefA)
	c.u32(&s.RefB)
	c.status(&s.Status)
}

// GnttabCacheFlush is the argument of GNTTABOP_cache_flush. Addr is a.dev_bus_addr; with GNTTAB_CACHE_SOURCE_GREF its low 32 bits are a.ref (grant_table.h,
// struct gnttab_cache_flush).
type GnttabCacheFlush struct {
	Addr   uint64
	Offset uint16
	Length uint16
	Op     uint32
}

func (s *GnttabCacheFlush) layout(c *codec) {
	c.u64(&s.Addr)
	c.u16(&s.Offset)
	c.u16(&s.Length)
	c.u32(&s.Op)
}
