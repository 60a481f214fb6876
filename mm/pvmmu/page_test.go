package pvmmu

import (
	"testing"

	"nidus/mm"
)

func TestSpecial(t *testing.T) {
	k := newMachine(t, 64)
	frame := func(kind mm.FrameKind, owner mm.DomID) mm.MFN {
		m, _ := k.AllocFrames(0, kind, owner, mm.ZoneAny)
		return m
	}
	m2p, shared, table, kernel := frame(mm.FrameKernel, mm.DomIDXen), frame(mm.FrameSpecial, mm.DomIDXen), frame(mm.FrameTable, myself), frame(mm.FrameKernel, mm.DomIDXen)
	g := k.guest(myself, 16, func(c *Config) {
		c.Special = func(m mm.MFN, f mm.Frame) Rights {
			switch m {
			case m2p:
				return ReadOnly
			case kernel:
				if f := k.f.Info(m); f.Refs != 1 {
					t.Error("a frame that is not for the guest was referenced")
				}
				return NoRights
			case table:
				t.Error("asked for a page table")
			}
			return ReadWrite
		}
	})
	g.tree(0)
	g.pin(nil, g.m[0], 4)
	g.update(nil, g.m[3], 1, to(m2p, 0))
	g.update(ErrFrame, g.m[3], 1, to(m2p, writable))
	g.update(nil, g.m[3], 2, to(shared, writable))
	g.is(shared, Writable, 1, 2)
	g.update(ErrFrame, g.m[3], 3, to(table, 0))
	g.update(ErrFrame, g.m[3], 3, to(kernel, 0))
	g.update(ErrFrame, g.m[2], 3, to(shared, 0))
	g.update(ErrFrame, shared, 3, 0)
	if s := g.d.Claim(table, 0); s != mm.FrameBadState {
		t.Error(s)
	}
	before := g.all
	g.update(nil, g.m[3], 2, 0)
	if g.all == before {
		t.Error("a page of the hypervisor's was not flushed when it was unmapped")
	}
	g.update(nil, g.m[3], 1, 0)
	g.is(m2p, None, 0, 1)
	k.FreeFrames(table, 0)
	g.end()
}
