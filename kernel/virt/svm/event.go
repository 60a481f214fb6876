package svm

import "nidus/kernel/virt"

// EVENTINJ and EXITINTINFO share a layout (APM vol. 2, 15.20 and 15.7.2).
const (
	eventKindShift = 8
	eventHasCode   = 1 << 11
	eventValid     = 1 << 31
)

//go:nosplit
func encodeEvent(e virt.Event) uint64 {
	v := uint64(e.Vector) | uint64(e.Kind&7)<<eventKindShift | eventValid
	if e.HasCode {
		v |= eventHasCode | uint64(e.Code)<<32
	}
	return v
}

//go:nosplit
func decodeEvent(v uint64) (e virt.Event, ok bool) {
	if v&eventValid == 0 {
		return
	}
	e.Vector, e.Kind = uint8(v), virt.EventKind(v>>eventKindShift&7)
	if e.Kind == virt.Exception && e.Vector > 31 {
		// QEMU's TCG tells an interrupt that V_IRQ started so, and refuses an entry
		// with such an exception
		return virt.Event{Vector: e.Vector}, true
	}
	if v&eventHasCode != 0 {
		e.HasCode, e.Code = true, uint32(v>>32)
	}
	return e, true
}
