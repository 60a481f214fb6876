package gnttab_test

import (
	"encoding/binary"
	"testing"

	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// FuzzGrantOp feeds hypercalls of two guests with any bytes, between which they scribble
// over their tables. Nothing panics, no quota is passed, and what is used is given back.
func FuzzGrantOp(f *testing.F) {
	seed := func(who, cmd byte, ref byte, flags byte, s xenabi.Struct) []byte {
		b := make([]byte, 5+48)
		b[0], b[1], b[2], b[3], b[4] = cmd, 1, ref, flags, who
		xenabi.Encode(xenabi.Guest64, b[5:], s)
		return b
	}
	f.Add(append(seed(0, xenabi.GnttabOpSetVersion, 0, 0, &xenabi.GnttabSetVersion{Version: 2}),
		seed(0, xenabi.GnttabOpSetupTable, 0, 0, &xenabi.GnttabSetupTable{DomID: 0x7ff0, NrFrames: 5, FrameList: 64})...), false)
	f.Add(append(seed(1, xenabi.GnttabOpSwapGrantRef, 1, 1, &xenabi.GnttabSwapGrantRef{RefA: 1, RefB: 2}),
		seed(1, xenabi.GnttabOpGetStatusFrames, 0, 0, &xenabi.GnttabGetStatusFrames{NrFrames: 1, DomID: 1})...), true)
	grant := seed(0, xenabi.GnttabOpQuerySize, 9, 1, &xenabi.GnttabQuerySize{DomID: 3})
	f.Add(append(grant, seed(1, xenabi.GnttabOpMapGrantRef, 0, 0, &xenabi.GnttabMapGrantRef{DomID: 1, Ref: 9, HostAddr: 99 << 12, Flags: 2})...), false)
	f.Add(append(append(grant, seed(1, xenabi.GnttabOpMapGrantRef, 0, 0, &xenabi.GnttabMapGrantRef{DomID: 1, Ref: 9, HostAddr: 99 << 12, Flags: 2})...),
		seed(1, xenabi.GnttabOpUnmapGrantRef, 0, 0, &xenabi.GnttabUnmapGrantRef{HostAddr: 99 << 12})...), false)
	f.Add(append(grant, seed(1, xenabi.GnttabOpCopy, 0, 0, &xenabi.GnttabCopy{SourceDomID: 1, SourceFrame: 9, Flags: 1, DestDomID: 2, Len: 9})...), false)
	f.Fuzz(func(t *testing.T, b []byte, narrow bool) {
		w := xenabi.Guest64
		if narrow {
			w = xenabi.Guest32
		}
		const limit = 6
		m := domaintest.New(t, 512)
		var all [2]*party
		for i := range all {
			p := m.Params(t, mm.DomID(i+1), 1)
			p.MaxPages, p.MaxGrants, p.MaxMaptrack = 32, limit, 1
			d, err := newDomain(m, p)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Space.Populate(0, 16, nil); err != nil {
				t.Fatal(err)
			}
			all[i] = &party{TB: t, m: m, d: d}
		}
		for n := 0; len(b) >= 5 && n < 100; n++ {
			cmd, count, ref, flags, p := uint32(b[0]&0x1f), uint32(b[1]), uint32(b[2]), b[3], all[b[4]&1]
			p.args = make(memory, 512)
			b = b[5:]
			b = b[copy(p.args, b[:min(len(b), 48)]):]
			if flags != 0 {
				p.entry(ref, uint16(flags)|uint16(flags>>7)<<8, all[flags>>6&1].d.ID, uint64(binary.LittleEndian.Uint32(p.args)),
					binary.LittleEndian.Uint16(p.args[8:]), binary.LittleEndian.Uint16(p.args[10:]))
			}
			p.c.Hypercall(p.d.Grants, w, cmd, p.args, 0, count)
			if s, st, _ := p.d.Grants.Sizes(); s > limit || st > 1 || p.d.Grants.Mappings() > 256 {
				t.Fatalf("%d and %d frames, %d mappings", s, st, p.d.Grants.Mappings())
			}
			if pins := all[0].d.Grants.Pins() + all[1].d.Grants.Pins(); pins != all[0].d.Grants.Mappings()+all[1].d.Grants.Mappings() {
				t.Fatalf("%d pins by %d and %d mappings", pins, all[0].d.Grants.Mappings(), all[1].d.Grants.Mappings())
			}
		}
		for _, p := range all {
			if err := p.d.Destroy(); err != nil {
				t.Fatal(err)
			}
		}
		m.CheckFree(t)
	})
}
