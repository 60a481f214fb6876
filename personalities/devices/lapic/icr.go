package lapic

// DeliveryMode is how an interrupt message acts (10.6.1).
type DeliveryMode uint8

// The delivery modes.
const (
	Fixed          DeliveryMode = 0
	LowestPriority DeliveryMode = 1
	SMI            DeliveryMode = 2
	NMI            DeliveryMode = 4
	INIT           DeliveryMode = 5
	StartUp        DeliveryMode = 6
	ExtINT         DeliveryMode = 7
)

// ICR fields (figure 10-12).
const (
	icrLogical = 1 << 11
	icrAssert  = 1 << 14
	icrLevel   = 1 << 15
)

// Destination shorthands.
const (
	noShorthand = iota
	self
	allIncludingSelf
	allExcludingSelf
)

// destination is how messages find an APIC, packed in one word so that other
// vcpus see one consistent state: bits 0-31 the ID, 32-39 the xAPIC logical ID,
// 40-43 the model, then the flags. The logical ID of x2APIC follows from the ID.
type destination uint64

const (
	destEnabled destination = 1 << 48
	destX2      destination = 1 << 49
	destSWOn    destination = 1 << 50
)

// publish lets other vcpus see this APIC's IDs and state.
func (a *APIC) publish() {
	var d destination
	if a.X2Mode() {
		d = destX2 | destination(a.cfg.ID)
	} else {
		d = destination(a.id>>24) | destination(a.ldr>>24)<<32 | destination(a.dfr>>28)<<40
	}
	if a.HardwareEnabled() {
		d |= destEnabled
	}
	if a.softwareEnabled() {
		d |= destSWOn
	}
	a.dest.Store(uint64(d))
}

// x2LogicalID derives the logical ID from the ID (10.12.10.2).
func x2LogicalID(id uint32) uint32 { return id>>4<<16 | 1<<(id&0xf) }

func (a *APIC) logicalID() uint32 {
	if a.X2Mode() {
		return x2LogicalID(a.cfg.ID)
	}
	return a.ldr
}

// matches tells whether a message to dest is for d (10.6.2).
func (d destination) matches(dest uint32, logical, x2 bool) bool {
	if d&destEnabled == 0 {
		return false
	}
	if dest == 0xffffffff || !x2 && dest == 0xff {
		return true
	}
	id := uint32(d)
	if !logical {
		return dest == id
	}
	if d&destX2 != 0 {
		l := x2LogicalID(id)
		return dest>>16 == l>>16 && dest&l&0xffff != 0
	}
	l := uint32(d >> 32 & 0xff)
	if dest > 0xff {
		return false
	}
	switch d >> 40 & 0xf {
	case dfrFlat:
		return dest&l != 0
	case dfrCluster:
		return (dest>>4 == 0xf || dest>>4 == l>>4) && dest&l&0xf != 0
	}
	return false
}

// send carries out a write to the ICR. dest is 8 bits wide from an xAPIC, and
// 32 from an x2APIC.
func (a *APIC) send(icr, dest uint64, x2 bool) {
	mode := DeliveryMode(icr >> 8 & 7)
	vector := uint8(icr)
	switch mode {
	case Fixed, LowestPriority:
		if vector < firstVector {
			a.fail(errSendIllegal)
			return
		}
	case INIT:
		if icr&(icrAssert|icrLevel) == icrLevel {
			return // de-assert: no processor since the P6 does anything
		}
	case NMI, StartUp:
	default:
		return // SMI and the reserved modes reach nobody
	}
	short := icr >> 18 & 3
	// Table 10-3: the other modes have no meaning for a shorthand with self.
	if (short == self || short == allIncludingSelf) && mode != Fixed {
		return
	}
	if short == self {
		a.selfIPI(vector)
		return
	}
	m := Message{Dest: uint32(dest), Logical: icr&icrLogical != 0, Mode: mode, Vector: vector}
	if short != noShorthand {
		m.Dest, m.Logical = 0xffffffff, false
	}
	skip := -1
	if short == allExcludingSelf {
		skip = a.index
	}
	a.bus.deliver(m, x2 || short != noShorthand, skip)
}

func (a *APIC) selfIPI(vector uint8) {
	if vector < firstVector {
		a.fail(errSendIllegal)
		return
	}
	if a.softwareEnabled() && a.Post(vector) {
		a.bus.vcpus.Kick(a.index)
	}
}

// Message is an interrupt from outside the processors: an MSI or an I/O APIC's.
type Message struct {
	Dest    uint32
	Logical bool
	Level   bool // level-triggered
	Mode    DeliveryMode
	Vector  uint8
}

// Deliver sends a message to the APICs it names, and tells whether any took
// it. Destinations are 8 bits wide. Any thread may call it.
func (b *Bus) Deliver(m Message) (accepted bool) { return b.deliver(m, false, -1) }

func (b *Bus) deliver(m Message, x2 bool, skip int) (accepted bool) {
	start := 0
	if m.Mode == LowestPriority {
		// No processor promises more than that one of them gets it.
		start = int(b.turn.Add(1) % uint32(len(b.apics)))
	}
	for k := range b.apics {
		i := start + k
		if i >= len(b.apics) {
			i -= len(b.apics)
		}
		a := b.apics[i]
		d := destination(a.dest.Load())
		if i == skip || !d.matches(m.Dest, m.Logical, x2) {
			continue
		}
		if !b.accept(i, d, m) {
			continue
		}
		accepted = true
		if m.Mode == LowestPriority {
			break
		}
	}
	return accepted
}

func (b *Bus) accept(i int, d destination, m Message) bool {
	a := b.apics[i]
	switch m.Mode {
	case Fixed, LowestPriority:
		// 10.4.7.2: disabled by software, it takes NMI, INIT and SIPI only.
		if d&destSWOn == 0 {
			return false
		}
		fresh := false
		if m.Level {
			fresh = a.PostLevel(m.Vector)
		} else {
			fresh = a.Post(m.Vector)
		}
		if fresh {
			b.vcpus.Kick(i)
		}
	case NMI:
		b.vcpus.NMI(i)
	case INIT:
		b.vcpus.INIT(i)
	case StartUp:
		b.vcpus.SIPI(i, m.Vector)
	default:
		return false
	}
	return true
}
