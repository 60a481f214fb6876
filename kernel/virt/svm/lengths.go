package svm

// lengths remembers how long instructions that exit are, for processors that
// don't tell (no NRIP-save, as QEMU's TCG): reading one through the guest's page
// tables again costs more than the exit. The key names the exit's code, so a hit
// is wrong only if a guest gives the same instruction at the same address other
// prefixes; it then goes on at a wrong place in its own code.
type lengths [16]length

type length struct {
	code, rip, cr3 uint64
	bits, n        uint8
}

// at is where an instruction at rip is remembered.
func (l *lengths) at(rip uint64) *length { return &l[rip*0x9e3779b97f4a7c15>>60] }

// find returns the length of the instruction of an exit; 0 if it isn't known.
func (l *lengths) find(code, rip, cr3 uint64, bits int) uint8 {
	if e := l.at(rip); e.rip == rip && e.code == code && e.cr3 == cr3 && e.bits == uint8(bits) {
		return e.n
	}
	return 0
}

func (l *lengths) store(code, rip, cr3 uint64, bits int, n uint8) {
	*l.at(rip) = length{code, rip, cr3, uint8(bits), n}
}
