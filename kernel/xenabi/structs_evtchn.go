package xenabi

// EvtchnAllocUnbound is the argument of EVTCHNOP_alloc_unbound (event_channel.h,
// struct evtchn_alloc_unbound).
type EvtchnAllocUnbound struct {
	DomID       uint16
	RemoteDomID uint16
	Port        uint32
}

func (s *EvtchnAllocUnbound) layout(c *codec) {
	c.u16(&s.DomID)
	c.u16(&s.RemoteDomID)
	c.u32(&s.Port)
}

// EvtchnBindInterdomain is the argument of EVTCHNOP_bind_interdomain (event_channel.h,
// struct evtchn_bind_interdomain).
type EvtchnBindInterdomain struct {
	RemoteDomID uint16
	RemotePort  uint32
	LocalPort   uint32
}

func (s *EvtchnBindInterdomain) layout(c *codec) {
	c.u16(&s.RemoteDomID)
	c.u32(&s.RemotePort)
	c.u32(&s.LocalPort)
}

// EvtchnBindVIRQ is the argument of EVTCHNOP_bind_virq (event_channel.h,
// struct evtchn_bind_virq).
type EvtchnBindVIRQ struct {
	VIRQ uint32
	VCPU uint32
	Port uint32
}

func (s *EvtchnBindVIRQ) layout(c *codec) {
	c.u32(&s.VIRQ)
	c.u32(&s.VCPU)
	c.u32(&s.Port)
}

// EvtchnBindPIRQ is the argument of EVTCHNOP_bind_pirq (event_channel.h,
// struct evtchn_bind_pirq).
type EvtchnBindPIRQ struct {
	PIRQ  uint32
	Flags uint32
	Port  uint32
}

func (s *EvtchnBindPIRQ) layout(c *codec) {
	c.u32(&s.PIRQ)
	c.u32(&s.Flags)
	c.u32(&s.Port)
}

// EvtchnBindIPI is the argument of EVTCHNOP_bind_ipi (event_channel.h,
// struct evtchn_bind_ipi).
type EvtchnBindIPI struct {
	VCPU uint32
	Port uint32
}

func (s *EvtchnBindIPI) layout(c *codec) {
	c.u32(&s.VCPU)
	c.u32(&s.Port)
}

// EvtchnPort is the argument of EVTCHNOP_close, _send and _unmask (event_channel.h,
// struct evtchn_close).
type EvtchnPort struct {
	Port uint32
}

func (s *EvtchnPort) layout(c *codec) {
	c.u32(&s.Port)
}

// EvtchnStatus is the argument of EVTCHNOP_status. PeerDomID is u.unbound.dom and u.interdomain.dom; PeerPort is u.interdomain.port (event_channel.h,
// struct evtchn_status).
type EvtchnStatus struct {
	DomID     uint16
	Port      uint32
	Status    uint32
	VCPU      uint32
	PeerDomID uint16
	PeerPort  uint32
}

func (s *EvtchnStatus) layout(c *codec) {
	c.u16(&s.DomID)
	c.u32(&s.Port)
	c.u32(&s.Status)
	c.u32(&s.VCPU)
	c.u16(&s.PeerDomID)
	c.u32(&s.PeerPort)
}

// EvtchnBindVCPU is the argument of EVTCHNOP_bind_vcpu (event_channel.h,
// struct evtchn_bind_vcpu).
type EvtchnBindVCPU struct {
	Port uint32
	VCPU uint32
}

func (s *EvtchnBindVCPU) layout(c *codec) {
	c.u32(&s.Port)
	c.u32(&s.VCPU)
}

// EvtchnReset is the argument of EVTCHNOP_reset (event_channel.h,
// struct evtchn_reset).
type EvtchnReset struct {
	DomID uint16
}

func (s *EvtchnReset) layout(c *codec) {
	c.u16(&s.DomID)
}

// EvtchnInitControl is the argument of EVTCHNOP_init_control (event_channel.h,
// struct evtchn_init_control).
type EvtchnInitControl struct {
	ControlGFN uint64
	Offset     uint32
	VCPU       uint32
	LinkBits   uint8
}

func (s *EvtchnInitControl) layout(c *codec) {
	c.u64(&s.ControlGFN)
	c.u32(&s.Offset)
	c.u32(&s.VCPU)
	c.u8(&s.LinkBits)
	c.field(7, 1)
}

// EvtchnExpandArray is the argument of EVTCHNOP_expand_array (event_channel.h,
// struct evtchn_expand_array).
type EvtchnExpandArray struct {
	ArrayGFN uint64
}

func (s *EvtchnExpandArray) layout(c *codec) {
	c.u64(&s.ArrayGFN)
}

// EvtchnSetPriority is the argument of EVTCHNOP_set_priority (event_channel.h,
// struct evtchn_set_priority).
type EvtchnSetPriority struct {
	Port     uint32
	Priority uint32
}

func (s *EvtchnSetPriority) layout(c *codec) {
	c.u32(&s.Port)
	c.u32(&s.Priority)
}
