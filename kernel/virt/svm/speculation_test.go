//go:build !tamago

package svm

import (
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
)

// Two vcpus of one domain and one of another take turns on two CPUs: a barrier
// comes with a change of domain only, VERW with each entry.
func TestBarriers(t *testing.T) {
	id := full
	id.spec = spec.Identity{Ext8EBX: 1 << 12, Ext21EAX: 1 << 5}
	a, f := setup(t, id)
	sibling, err := a.m.newVCPU(virt.Config{Maps: a.maps})
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.m.newMapsAndVCPU()
	if err != nil {
		t.Fatal(err)
	}
	if got := a.m.spec.String(); got != "IBPB at a change of domain, VERW at entries" {
		t.Errorf("log says %q", got)
	}
	for i, c := range []struct {
		v    *vcpu
		cpu  uint64
		ibpb bool
	}{
		{a, 0, true}, {a, 0, false}, {sibling, 0, false}, {a, 0, false},
		{other, 0, true}, {other, 1, true}, {other, 0, false}, {sibling, 0, true},
		{a, 1, true}, {a, 1, false},
	} {
		f.v, f.on = c.v, c.cpu
		delete(f.msrs, spec.MSRPredCmd)
		f.verws = 0
		f.run(t, virt.ReasonHLT, func(b *VMCB) {
			if got := f.msrs[spec.MSRPredCmd] == spec.PredIBPB; got != c.ibpb {
				t.Errorf("step %d: barrier %v, want %v", i, got, c.ibpb)
			}
			if f.verws != 1 {
				t.Errorf("step %d: %d VERWs", i, f.verws)
			}
			b.ExitCode = exitHLT
		})
	}
}

// A guest may write PRED_CMD where the processor has it, and never reaches
// SPEC_CTRL.
func TestSpeculationMSRs(t *testing.T) {
	for _, have := range []bool{false, true} {
		id := full
		if have {
			id.spec.Ext8EBX = 1<<12 | 1<<14 | 1<<15
		}
		v, _ := setup(t, id)
		for _, r := range []struct {
			msr   uint32
			exits byte // read, write
		}{{spec.MSRSpecCtrl, 3}, {spec.MSRPredCmd, 3}, {spec.MSRFlushCmd, 3}} {
			if have && r.msr == spec.MSRPredCmd {
				r.exits = 1
			}
			bit, _ := msrBit(r.msr)
			if got := v.maps.msr[bit/8] >> (bit % 8) & 3; got != r.exits {
				t.Errorf("with IBPB %v: MSR %#x has bits %b, want %b", have, r.msr, got, r.exits)
			}
		}
	}
}
