package pv

import "nidus/kernel/xenabi"

// eventOp is event_channel_op, of an event that the vcpu sends to itself.
//
//go:nosplit
func (v *vcpu) eventOp() bool {
	g, r := &v.gate, &v.ctx.regs
	var f frame // struct evtchn_send: port, which is half a word
	if g.Events == nil || r.RDI != xenabi.EvtchnOpSend || !guestRange(r.RSI, 8) || !load(&f, r.RSI, 1) {
		return false
	}
	done, polled := g.Events.Quick(uint32(f[0]), int32(g.ID))
	v.polled = polled
	return done
}
