package mm

// Type says what a guest frame is. P2M keeps it in bits that hardware ignores.
type Type uint8

// The types of guest frames.
const (
	TypeNone     Type = iota // nothing: an access is the guest's fault
	TypeRAM                  // the domain's memory
	TypeRAMRO                // the domain's memory, that it can't write
	TypeLogDirty             // the domain's memory, and the next write is to be noted
	TypeMMIO                 // device memory, uncached
	TypeSpecial              // a frame of the hypervisor's (shared info, grant table)
	TypeGrantRW              // another domain's frame, granted
	TypeGrantRO              // the same, to be read only
	TypeForeign              // another domain's frame, by privilege
	TypePoD                  // memory that is allocated when it is first used
	TypeBroken               // memory that failed; an access is a machine check
	numTypes
)

var typeNames = [numTypes]string{"none", "ram", "ram-ro", "log-dirty", "mmio", "special",
	"grant-rw", "grant-ro", "foreign", "pod", "broken"}

// String names the type.
func (t Type) String() string {
	if t < numTypes {
		return typeNames[t]
	}
	return "unknown"
}

// IsRAM tells whether the frame is the domain's own.
func (t Type) IsRAM() bool { return t == TypeRAM || t == TypeRAMRO || t == TypeLogDirty }

// own tells whether the entry's machine frame belongs to the domain.
func (t Type) own() bool { return t.IsRAM() || t == TypeBroken }

// hasFrame tells whether an entry of this type has a machine frame.
func (t Type) hasFrame() bool { return t > TypeNone && t < numTypes && t != TypePoD }

// merges tells whether neighbours of this type may become one large page. The
// others are undone frame by frame.
func (t Type) merges() bool {
	return t == TypeRAM || t == TypeRAMRO || t == TypeMMIO || t == TypePoD
}

// Format is the layout of nested page-table entries: NPT or EPT. Both have four
// levels, the frame in bits 12 to 51, bit 7 for a large page, and ignore bits 52
// to 55, where the Type is. An entry with a Type is a leaf, also where it is not
// present; one without is a table, or nothing at all (zero).
type Format struct {
	name  string
	table uint64           // bits of an entry that names a table
	leaf  [numTypes]uint64 // bits of an entry that names a page
	hw    uint64           // bits that hardware sets by itself
}

// String names the format.
func (f *Format) String() string { return f.name }

// Bits of an NPT entry: an ordinary long-mode one, walked as a user access (AMD
// APM vol. 2, 15.25.5 and 5.3.3). Accessed and dirty are set beforehand, so that
// no walk has to write.
const (
	nptP   = 1 << 0
	nptRW  = 1 << 1
	nptUS  = 1 << 2
	nptUC  = 1<<3 | 1<<4 // PWT and PCD: PAT entry 3
	nptAD  = 1<<5 | 1<<6
	nptNX  = 1 << 63
	nptRO  = nptP | nptUS | nptAD
	nptMem = nptRO | nptRW
)

// Bits of an EPT entry (Intel SDM vol. 3, 29.3.2, tables 29-1 to 29-7). Memory
// type 0 is uncached, 6 is write-back.
const (
	eptR   = 1 << 0
	eptW   = 1 << 1
	eptX   = 1 << 2
	eptWB  = 6 << 3
	eptAD  = 1<<8 | 1<<9
	eptRW  = eptR | eptW | eptWB
	eptRX  = eptR | eptX | eptWB
	eptRWX = eptRW | eptX
)

// The formats.
var (
	NPT = &Format{
		name:  "npt",
		table: nptMem,
		hw:    nptAD,
		leaf: [numTypes]uint64{
			TypeRAM:      nptMem,
			TypeRAMRO:    nptRO,
			TypeLogDirty: nptRO,
			TypeMMIO:     nptMem | nptUC | nptNX,
			TypeSpecial:  nptMem | nptNX,
			TypeGrantRW:  nptMem | nptNX,
			TypeGrantRO:  nptRO | nptNX,
			TypeForeign:  nptMem | nptNX,
		},
	}
	EPT = &Format{
		name:  "ept",
		table: eptR | eptW | eptX,
		hw:    eptAD,
		leaf: [numTypes]uint64{
			TypeRAM:      eptRWX,
			TypeRAMRO:    eptRX,
			TypeLogDirty: eptRX,
			TypeMMIO:     eptR | eptW,
			TypeSpecial:  eptRW,
			TypeGrantRW:  eptRW,
			TypeGrantRO:  eptR | eptWB,
			TypeForeign:  eptRW,
		},
	}
)

const (
	tableEntries = 512
	tableBits    = 9
	levels       = 4
	typeShift    = 52
	typeMask     = 0xf << typeShift
	frameMask    = 1<<52 - 1<<PageShift
	largePage    = 1 << 7
	present      = 7 // an entry without these can't be used: P, or EPT's R, W and X

	// maxGFN and maxMFN are the first frames that four levels, and an entry,
	// can't name.
	maxGFN GFN = 1 << (levels * tableBits)
	maxMFN MFN = 1 << (52 - PageShift)
)

// Table is one nested page table. Its entries are read and written atomically.
type Table [tableEntries]uint64

// pte is one entry.
type pte uint64

func (e pte) mfn() MFN      { return MFN(e & frameMask >> PageShift) }
func (e pte) typ() Type     { return Type(e & typeMask >> typeShift) }
func (e pte) isNone() bool  { return e == 0 }
func (e pte) isTable() bool { return e != 0 && e&typeMask == 0 }

// orderOf is the size of what an entry of a table at level maps.
func orderOf(level int) uint { return uint(level-1) * tableBits }

// leafEntry makes the entry for a page of a table at level.
func (f *Format) leafEntry(m MFN, t Type, level int) pte {
	if t == TypeNone {
		return 0
	}
	e := f.leaf[t] | uint64(t)<<typeShift
	if t.hasFrame() {
		e |= uint64(m) << PageShift
	}
	if level > 1 {
		e |= largePage
	}
	return pte(e)
}

func (f *Format) tableEntry(m MFN) pte { return pte(f.table | uint64(m)<<PageShift) }

// same tells whether two entries differ at most in what hardware sets.
func (f *Format) same(a, b pte) bool { return (a^b)&^pte(f.hw) == 0 }
