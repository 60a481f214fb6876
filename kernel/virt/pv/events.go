package pv

import "nidus/kernel/xenabi"

// eventOp is event_channel_op, of an event that the vcpu sends to itself.
//
//go:nosplit
func (v *vcpu) eventOp() bool {
	g, r := &v.gate, &v.ctx.regs
	if g.Events == nil || r.RDI != xenabi.EvtchnOpSend || !guestRange(r.RSI, 8) {
		return false
	}
	arg, ok := loadWord(r.RSI) // struct evtchn_send: port, which is half of it
	return ok && v.quickEvent(uint32(arg))
}
