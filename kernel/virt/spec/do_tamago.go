//go:build tamago

package spec

import "nidus/kernel/cpu"

// Do does it. What is touched after it and before the guest runs is to be the guest's own state, or
// no secret.
//
//go:nosplit
func (a Actions) Do() {
	if a&Barrier != 0 {
		cpu.WriteMSR(MSRPredCmd, PredIBPB)
	}
	if a&FlushCache != 0 {
		cpu.WriteMSR(MSRFlushCmd, FlushL1D)
	}
	if a&ClearBuffers != 0 {
		cpu.ClearBuffers()
	}
}

// Set makes the calling CPU's SPEC_CTRL and EFER what p wants.
func (p *Policy) Set() {
	const msrEFER, eferAIBRSE = 0xc0000080, 1 << 21
	if p.AutoIBRS {
		cpu.WriteMSR(msrEFER, cpu.ReadMSR(msrEFER)|eferAIBRSE)
	}
	if p.SpecCtrl != 0 {
		cpu.WriteMSR(MSRSpecCtrl, p.SpecCtrl)
	}
}
