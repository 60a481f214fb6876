package evtchn

import (
	"encoding/binary"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// argSizes is the size of each operation's structure, the same for both widths
// of guests (event_channel.h); bind_pirq is 12 but refused unread.
var argSizes = [...]uint8{
	xenabi.EvtchnOpBindInterdomain: 12,
	xenabi.EvtchnOpBindVIRQ:        12,
	xenabi.EvtchnOpBindPIRQ:        12,
	xenabi.EvtchnOpClose:           4,
	xenabi.EvtchnOpSend:            4,
	xenabi.EvtchnOpStatus:          24,
	xenabi.EvtchnOpAllocUnbound:    8,
	xenabi.EvtchnOpBindIPI:         8,
	xenabi.EvtchnOpBindVCPU:        8,
	xenabi.EvtchnOpUnmask:          4,
	xenabi.EvtchnOpReset:           2,
	xenabi.EvtchnOpInitControl:     24,
	xenabi.EvtchnOpExpandArray:     8,
	xenabi.EvtchnOpSetPriority:     8,
}

// MaxArgSize is the largest argument of event_channel_op, in bytes.
const MaxArgSize = 24

// ArgSize returns how many bytes of argument EVTCHNOP cmd has, and whether a
// successful one must be copied back to the guest. ok is false if there is no
// such operation (ENOSYS).
func ArgSize(cmd uint32) (size int, out, ok bool) {
	if cmd >= uint32(len(argSizes)) {
		return 0, false, false
	}
	switch cmd {
	case xenabi.EvtchnOpBindInterdomain, xenabi.EvtchnOpBindVIRQ, xenabi.EvtchnOpStatus,
		xenabi.EvtchnOpAllocUnbound, xenabi.EvtchnOpBindIPI, xenabi.EvtchnOpInitControl:
		out = true
	}
	return int(argSizes[cmd]), out, true
}

// Hypercall does EVTCHNOP cmd for the guest of d. arg is a private copy of the
// guest's argument, ArgSize bytes, and gets the results. Sending does not
// allocate.
func (d *Domain) Hypercall(cmd uint32, arg []byte) error {
	size, _, ok := ArgSize(cmd)
	if !ok {
		return xenabi.ENOSYS
	}
	if len(arg) < size {
		return xenabi.EFAULT
	}
	switch cmd {
	case xenabi.EvtchnOpSend:
		return d.sendFrom(binary.LittleEndian.Uint32(arg), true)
	case xenabi.EvtchnOpUnmask:
		return d.Unmask(binary.LittleEndian.Uint32(arg))
	case xenabi.EvtchnOpClose:
		return d.Close(binary.LittleEndian.Uint32(arg))
	}
	// A copy, so that arg does not escape and may lie on the caller's stack.
	b := append([]byte(nil), arg[:size]...)
	err := d.slowOp(cmd, b)
	copy(arg, b)
	return err
}

// slowOp does the operations that are rare enough for the general decoder.
func (d *Domain) slowOp(cmd uint32, arg []byte) (err error) {
	switch cmd {
	case xenabi.EvtchnOpBindInterdomain:
		var a xenabi.EvtchnBindInterdomain
		return answer(arg, &a, func() error {
			a.LocalPort, err = d.BindInterdomain(mm.DomID(a.RemoteDomID), a.RemotePort)
			return err
		})
	case xenabi.EvtchnOpBindVIRQ:
		var a xenabi.EvtchnBindVIRQ
		return answer(arg, &a, func() error { a.Port, err = d.BindVIRQ(a.VIRQ, a.VCPU); return err })
	case xenabi.EvtchnOpBindPIRQ:
		return xenabi.EPERM // no guest owns a physical interrupt yet
	case xenabi.EvtchnOpStatus:
		var a xenabi.EvtchnStatus
		return answer(arg, &a, func() error { return d.guestStatus(&a) })
	case xenabi.EvtchnOpAllocUnbound:
		var a xenabi.EvtchnAllocUnbound
		return answer(arg, &a, func() error {
			t, err := d.target(a.DomID)
			if err != nil {
				return err
			}
			remote := mm.DomID(a.RemoteDomID)
			if remote == mm.DomIDSelf { // the caller, whosever port it is
				remote = d.cfg.ID
			}
			a.Port, err = t.AllocUnbound(remote)
			return err
		})
	case xenabi.EvtchnOpBindIPI:
		var a xenabi.EvtchnBindIPI
		return answer(arg, &a, func() error { a.Port, err = d.BindIPI(a.VCPU); return err })
	case xenabi.EvtchnOpBindVCPU:
		var a xenabi.EvtchnBindVCPU
		xenabi.Decode(xenabi.Guest64, arg, &a)
		return d.BindVCPU(a.Port, a.VCPU)
	case xenabi.EvtchnOpReset:
		var a xenabi.EvtchnReset
		xenabi.Decode(xenabi.Guest64, arg, &a)
		t, err := d.target(a.DomID)
		if err != nil {
			return err
		}
		return t.Reset()
	case xenabi.EvtchnOpInitControl:
		var a xenabi.EvtchnInitControl
		return answer(arg, &a, func() error {
			a.LinkBits = xenabi.EvtchnFIFOLinkBits
			return d.InitControl(a.VCPU, mm.GFN(a.ControlGFN), a.Offset)
		})
	case xenabi.EvtchnOpExpandArray:
		var a xenabi.EvtchnExpandArray
		xenabi.Decode(xenabi.Guest64, arg, &a)
		return d.ExpandArray(mm.GFN(a.ArrayGFN))
	case xenabi.EvtchnOpSetPriority:
		var a xenabi.EvtchnSetPriority
		xenabi.Decode(xenabi.Guest64, arg, &a)
		return d.SetPriority(a.Port, a.Priority)
	}
	return xenabi.ENOSYS
}

// answer decodes arg, does op, and encodes the result unless op fails.
func answer(arg []byte, a xenabi.Struct, op func() error) error {
	if !xenabi.Decode(xenabi.Guest64, arg, a) {
		return xenabi.EFAULT
	}
	if err := op(); err != nil {
		return err
	}
	xenabi.Encode(xenabi.Guest64, arg, a)
	return nil
}

// target returns the domain that a guest names: itself, or if it is privileged
// any other.
func (d *Domain) target(id uint16) (*Domain, error) {
	if mm.DomID(id) == mm.DomIDSelf || mm.DomID(id) == d.cfg.ID {
		return d, nil
	}
	t := d.hub.Domain(mm.DomID(id))
	switch {
	case t == nil:
		return nil, xenabi.ESRCH
	case !d.cfg.Privileged:
		return nil, xenabi.EPERM
	}
	return t, nil
}

func (d *Domain) guestStatus(a *xenabi.EvtchnStatus) error {
	t, err := d.target(a.DomID)
	if err != nil {
		return err
	}
	s, err := t.Status(a.Port)
	if err != nil {
		return err
	}
	a.Status, a.VCPU, a.PeerDomID, a.PeerPort = s.Status, s.VCPU, 0, 0
	switch s.Status {
	case xenabi.EvtchnStatUnbound:
		a.PeerDomID = uint16(s.PeerDom)
	case xenabi.EvtchnStatInterdomain:
		a.PeerDomID, a.PeerPort = uint16(s.PeerDom), s.PeerPort
	case xenabi.EvtchnStatVIRQ: // u.virq is 4 bytes where u.interdomain.dom is
		a.PeerDomID = uint16(s.VIRQ)
	}
	return nil
}
