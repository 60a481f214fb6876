package image

import (
	"bytes"
	"strconv"
	"strings"

	"nidus/mm"
)

// NoteType is a XEN_ELFNOTE_* number (elfnote.h).
type NoteType uint32

// Notes of a kernel (elfnote.h).
const (
	NoteInfo              NoteType = 0
	NoteEntry             NoteType = 1
	NoteHypercallPage     NoteType = 2
	NoteVirtBase          NoteType = 3
	NotePaddrOffset       NoteType = 4
	NoteXenVersion        NoteType = 5
	NoteGuestOS           NoteType = 6
	NoteGuestVersion      NoteType = 7
	NoteLoader            NoteType = 8
	NotePAEMode           NoteType = 9
	NoteFeatures          NoteType = 10
	NoteBSDSymtab         NoteType = 11
	NoteHVStartLow        NoteType = 12
	NoteL1MFNValid        NoteType = 13
	NoteSuspendCancel     NoteType = 14
	NoteInitP2M           NoteType = 15
	NoteModStartPFN       NoteType = 16
	NoteSupportedFeatures NoteType = 17
	NotePhys32Entry       NoteType = 18
)

// Notes are what a kernel tells a hypervisor about itself (elfnote.h). A field
// means something only if its note is there: see Has. Values are the kernel's
// word, not checked.
type Notes struct {
	present uint32 // bit n: XEN_ELFNOTE n

	// Legacy says that they come from a __xen_guest section of old.
	Legacy bool

	Entry         mm.GuestVirt // where a PV kernel starts
	HypercallPage mm.GuestVirt
	VirtBase      mm.GuestVirt
	PaddrOffset   uint64
	XenVersion    string
	GuestOS       string
	GuestVersion  string
	Loader        string
	PAEMode       string // "yes", "no", "bimodal", "yes,bimodal"
	BSDSymtab     bool
	HVStartLow    mm.GuestVirt
	L1MFNValid    []MaskValue
	SuspendCancel bool
	InitP2M       mm.GuestVirt
	ModStartPFN   bool
	Phys32Entry   uint64

	// FeatureList is the FEATURES note as written.
	FeatureList string
	// Supported has the features of FEATURES and SUPPORTED_FEATURES.
	Supported Features
	// Required has those that FEATURES marks with '!'.
	Required Features
	// UnknownRequired are required names that features.h lacks.
	UnknownRequired []string
	// Info are the NAME=VALUE pairs of INFO notes.
	Info []string
}

// MaskValue recognises page-table entries: entry & Mask == Value.
type MaskValue struct{ Mask, Value uint64 }

// Has tells whether the kernel has note t.
func (n *Notes) Has(t NoteType) bool { return t < 32 && n.present>>t&1 != 0 }

// Any tells whether the kernel has any Xen note.
func (n *Notes) Any() bool { return n.present != 0 }

// Bounds on what is kept of a note; a kernel has far less.
const (
	maxNoteString = 4096
	maxNoteList   = 16
)

// notes finds a kernel's Xen notes where Xen looks for them: in its PT_NOTE
// segments, else its SHT_NOTE sections, else in the section __xen_guest.
func (f *elfFile) notes() Notes {
	var n Notes
	for i := range f.phnum {
		if p := f.program(i); p.typ == ptNote {
			if b, ok := f.bytes(p); ok {
				n.parse(b, p.align)
			}
		}
	}
	if n.Any() || f.shnum == 0 {
		return n
	}
	for i := range f.shnum {
		if s := f.section(i); s.typ == shtNote {
			if b, ok := f.bytes(s); ok {
				n.parse(b, s.align)
			}
		}
	}
	if n.Any() || f.shstrndx >= f.shnum {
		return n
	}
	names, ok := f.bytes(f.section(f.shstrndx))
	if !ok {
		return n
	}
	for i := range f.shnum {
		s := f.section(i)
		if s.typ != 0 && uint64(s.name) < uint64(len(names)) && bytes.HasPrefix(names[s.name:], []byte("__xen_guest\x00")) {
			if b, ok := f.bytes(s); ok {
				n.parseLegacy(cString(b))
				break
			}
		}
	}
	return n
}

// parse reads the notes in b. Each is: sizes of name and descriptor, type,
// name, descriptor, both padded. A note that does not fit ends the list, but a text whose
// end is there counts: the last note of GRUB's i386-xen images claims 12 bytes and has
// "yes" and a zero.
func (n *Notes) parse(b []byte, align uint64) {
	pad := uint64(4)
	if align == 8 { // as .note.gnu.property has it
		pad = 8
	}
	up := func(x uint64) uint64 { return (x + pad - 1) &^ (pad - 1) }
	for len(b) >= 12 {
		nameSize, descSize := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		typ := NoteType(le.Uint32(b[8:]))
		desc := up(12 + nameSize)
		end := desc + descSize
		if end > uint64(len(b)) {
			if !typ.isText() || desc >= uint64(len(b)) || bytes.IndexByte(b[desc:], 0) < 0 {
				return
			}
			end = uint64(len(b))
		}
		if name := b[12 : 12+nameSize]; string(name) == "Xen\x00" || string(name) == "Xen" {
			n.set(typ, b[desc:end])
		}
		b = b[min(up(end), uint64(len(b))):]
	}
}

// isText tells whether a note's descriptor is a string.
func (t NoteType) isText() bool {
	switch t {
	case NoteInfo, NoteXenVersion, NoteGuestOS, NoteGuestVersion, NoteLoader, NotePAEMode, NoteFeatures, NoteBSDSymtab:
		return true
	}
	return false
}

// set records one note. Unknown types are ignored, for later headers.
func (n *Notes) set(t NoteType, desc []byte) {
	v, num := number(desc)
	str := cString(desc)
	switch t {
	case NoteInfo:
		if len(n.Info) < maxNoteList {
			n.Info = append(n.Info, str)
		}
		num = true
	case NoteXenVersion:
		n.XenVersion, num = str, true
	case NoteGuestOS:
		n.GuestOS, num = str, true
	case NoteGuestVersion:
		n.GuestVersion, num = str, true
	case NoteLoader:
		n.Loader, num = str, true
	case NotePAEMode:
		n.PAEMode, num = str, true
	case NoteFeatures:
		n.setFeatures(str)
		num = true
	case NoteBSDSymtab:
		n.BSDSymtab, num = str == "yes", true
	case NoteL1MFNValid:
		num = len(desc) >= 16
		for ; len(desc) >= 16 && len(n.L1MFNValid) < maxNoteList; desc = desc[16:] {
			n.L1MFNValid = append(n.L1MFNValid, MaskValue{le.Uint64(desc), le.Uint64(desc[8:])})
		}
	default:
		if !num {
			return
		}
		num = n.setNumber(t, v)
	}
	if num {
		n.present |= 1 << t
	}
}

// setNumber records a numeric note; it is false for an unknown type.
func (n *Notes) setNumber(t NoteType, v uint64) bool {
	switch t {
	case NoteEntry:
		n.Entry = mm.GuestVirt(v)
	case NoteHypercallPage:
		n.HypercallPage = mm.GuestVirt(v)
	case NoteVirtBase:
		n.VirtBase = mm.GuestVirt(v)
	case NotePaddrOffset:
		n.PaddrOffset = v
	case NoteHVStartLow:
		n.HVStartLow = mm.GuestVirt(v)
	case NoteSuspendCancel:
		n.SuspendCancel = v != 0
	case NoteInitP2M:
		n.InitP2M = mm.GuestVirt(v)
	case NoteModStartPFN:
		n.ModStartPFN = v != 0
	case NoteSupportedFeatures:
		n.Supported |= Features(v)
	case NotePhys32Entry:
		n.Phys32Entry = v
	default:
		return false
	}
	return true
}

func (n *Notes) setFeatures(list string) {
	n.FeatureList = list
	sup, req, unknown := parseFeatures(list)
	n.Supported |= sup
	n.Required |= req
	n.UnknownRequired = unknown
}

// parseLegacy reads a __xen_guest section: KEY=VALUE, with commas between
// (elfnote.h, LEGACY).
func (n *Notes) parseLegacy(s string) {
	n.Legacy = true
	var hypercallPFN uint64
	for field := range strings.SplitSeq(s, ",") {
		key, val, _ := strings.Cut(field, "=")
		// ParseUint yields 0 on an error, and the note is then left out.
		num, err := strconv.ParseUint(val, 0, 64)
		setNum := func(t NoteType) {
			if err == nil && n.setNumber(t, num) {
				n.present |= 1 << t
			}
		}
		setStr := func(t NoteType) { n.set(t, []byte(val)) }
		switch key {
		case "VIRT_ENTRY":
			setNum(NoteEntry)
		case "VIRT_BASE":
			setNum(NoteVirtBase)
		case "ELF_PADDR_OFFSET":
			setNum(NotePaddrOffset)
		case "HYPERCALL_PAGE":
			hypercallPFN = num
			setNum(NoteHypercallPage)
		case "XEN_VER":
			setStr(NoteXenVersion)
		case "GUEST_OS":
			setStr(NoteGuestOS)
		case "GUEST_VER":
			setStr(NoteGuestVersion)
		case "LOADER":
			setStr(NoteLoader)
		case "PAE":
			setStr(NotePAEMode)
		case "FEATURES":
			setStr(NoteFeatures)
		case "BSD_SYMTAB":
			n.set(NoteBSDSymtab, []byte("yes"))
		}
	}
	// The legacy defaults: a page number, not an address; and the offset.
	if n.Has(NoteHypercallPage) {
		n.HypercallPage = n.VirtBase + mm.GuestVirt(hypercallPFN<<mm.PageShift)
	}
	if !n.Has(NotePaddrOffset) {
		n.PaddrOffset = uint64(n.VirtBase)
	}
}

// number reads a numeric descriptor: 4 or 8 bytes, its size decides.
func number(desc []byte) (uint64, bool) {
	switch len(desc) {
	case 4:
		return uint64(le.Uint32(desc)), true
	case 8:
		return le.Uint64(desc), true
	}
	return 0, false
}

// cString returns the text in b up to a zero byte, and not all of it if it is
// absurdly long.
func cString(b []byte) string {
	b = b[:min(len(b), maxNoteString)]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
