package hypercall

import (
	"testing"

	"nidus/kernel/domain"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

const schedNr = xenabi.HypercallSchedOp

func TestSchedOps(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		for _, nr := range []uint64{schedNr, xenabi.HypercallSchedOpCompat} {
			g.want(0, nr, xenabi.SchedOpYield)
			if g.last.Kind != Yield {
				t.Errorf("yield: %v", g.last)
			}
			g.want(0, nr, xenabi.SchedOpBlock)
			if g.last.Kind != Block {
				t.Errorf("block: %v", g.last)
			}
		}
		g.want(xenabi.EPERM, schedNr, xenabi.SchedOpPinOverride, argAt)
		g.want(xenabi.EPERM, schedNr, xenabi.SchedOpRemoteShutdown, g.arg(&xenabi.SchedRemoteShutdown{DomID: 0}))
		g.want(xenabi.EPERM, schedNr, xenabi.SchedOpRemoteShutdown, g.arg(&xenabi.SchedRemoteShutdown{DomID: uint16(mm.DomIDSelf)}))
		g.want(xenabi.ESRCH, schedNr, xenabi.SchedOpRemoteShutdown, g.arg(&xenabi.SchedRemoteShutdown{DomID: 99}))

		dog := func(res any, id, timeout uint32) {
			t.Helper()
			g.want(res, schedNr, xenabi.SchedOpWatchdog, g.arg(&xenabi.SchedWatchdog{ID: id, Timeout: timeout}))
		}
		dog(xenabi.EINVAL, 0, 0)
		dog(xenabi.EINVAL, 1, 10)
		dog(1, 0, 1000)
		dog(2, 0, ^uint32(0))
		dog(xenabi.ENOSPC, 0, 1000)
		dog(0, 1, 2000)
		dog(0, 2, 0)
		dog(xenabi.EINVAL, 3, 1)
		dog(xenabi.EINVAL, ^uint32(0), 1)
	})
}

func TestShutdown(t *testing.T) {
	for reason, want := range map[uint32]uint32{0: 0, 1: 1, 3: 3, 5: 5, 6: xenabi.ShutdownCrash, ^uint32(0): xenabi.ShutdownCrash} {
		g := newGuest(t, 64)
		g.want(0, schedNr, xenabi.SchedOpShutdown, g.arg(&xenabi.SchedShutdown{Reason: reason}))
		if g.d.State() != domain.Ended || g.d.Reason() != want {
			t.Errorf("reason %d: state %d, reason %d", reason, g.d.State(), g.d.Reason())
		}
		g.want(xenabi.EBUSY, schedNr, xenabi.SchedOpShutdownCode, g.arg(&xenabi.SchedShutdown{Reason: 1}))
	}
	g := newGuest(t, 32)
	g.want(xenabi.EINVAL, schedNr, xenabi.SchedOpShutdownCode, g.arg(&xenabi.SchedShutdown{Reason: 6}))
	g.want(0, schedNr, xenabi.SchedOpShutdownCode, g.arg(&xenabi.SchedShutdown{Reason: xenabi.ShutdownReboot}))
	g.want(xenabi.EBUSY, schedNr, xenabi.SchedOpShutdownCode, g.arg(&xenabi.SchedShutdown{Reason: 0}))
	g.want(0, xenabi.HypercallSchedOpCompat, xenabi.SchedOpShutdown, xenabi.ShutdownPoweroff)
	if g.d.Reason() != xenabi.ShutdownReboot {
		t.Errorf("reason %d: the latched one counts", g.d.Reason())
	}
}

func TestPoll(t *testing.T) {
	both(t, func(t *testing.T, g *guest) {
		poll := func(res any, n uint32, at uint64) {
			t.Helper()
			g.want(res, schedNr, xenabi.SchedOpPoll, g.arg(&xenabi.SchedPoll{Ports: dataAt, NrPorts: n, Timeout: at}))
		}
		ipi := xenabi.EvtchnBindIPI{}
		g.want(0, xenabi.HypercallEventChannelOp, xenabi.EvtchnOpBindIPI, g.arg(&ipi))
		g.result(&ipi)
		g.put32(dataAt, ipi.Port)
		poll(0, 1, 5000)
		if g.last != (Outcome{Kind: Poll, At: 5000}) {
			t.Errorf("outcome %+v", g.last)
		}
		g.last.End(g.v)
		poll(0, 1, ^uint64(0))
		if g.last.At != 1<<63-1 {
			t.Errorf("outcome %+v", g.last)
		}
		g.last.End(g.v)
		poll(0, 0, 0)
		if g.last != (Outcome{Kind: Poll}) {
			t.Errorf("outcome %+v", g.last)
		}
		g.last.End(g.v)
		g.want(0, xenabi.HypercallEventChannelOp, xenabi.EvtchnOpSend, g.arg(&xenabi.EvtchnPort{Port: ipi.Port}))
		poll(0, 1, 0)
		if g.last.Kind != Done {
			t.Errorf("outcome %+v with a pending port", g.last)
		}
		poll(xenabi.EINVAL, 129, 0)
		poll(xenabi.EINVAL, ^uint32(0), 0)
		for _, p := range []uint32{0, 1 << 20, ^uint32(0)} {
			g.put32(dataAt, p)
			poll(xenabi.EINVAL, 1, 0)
		}
		g.want(xenabi.EFAULT, schedNr, xenabi.SchedOpPoll, g.arg(&xenabi.SchedPoll{Ports: 0x10000000, NrPorts: 1}))
	})
}
