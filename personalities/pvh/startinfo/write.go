package startinfo

import (
	"encoding/binary"
	"fmt"

	"nidus/mm"
)

// Sizes and values of start_info.h.
const (
	startMagic   = 0x336ec578 // XEN_HVM_START_MAGIC_VALUE
	startVersion = 1

	infoSize    = 56 // struct hvm_start_info, version 1
	modlistSize = 32 // struct hvm_modlist_entry
	memmapSize  = 24 // struct hvm_memmap_table_entry
)

var le = binary.LittleEndian

// Write puts hvm_start_info and all it points to into guest memory, but for
// the kernel and the modules' contents. The pages must be zero or free to
// write.
func (plan *Plan) Write(mem mm.GuestMemory) error {
	if err := mem.WritePhys(infoBase, plan.info()); err != nil {
		return fmt.Errorf("write hvm_start_info at %#x: %w", infoBase, err)
	}
	write := func(at mm.GuestPhys, s string) error {
		if at == 0 {
			return nil
		}
		if err := mem.WritePhys(at, append([]byte(s), 0)); err != nil {
			return fmt.Errorf("write command line at %#x: %w", at, err)
		}
		return nil
	}
	if err := write(plan.cmdlineAddr, plan.cmdline); err != nil {
		return err
	}
	for i := range plan.Modules {
		if err := write(plan.Modules[i].cmdline, plan.Modules[i].Cmdline); err != nil {
			return err
		}
	}
	if err := mem.WritePhys(plan.Tables.Base, plan.Tables.Data); err != nil {
		return fmt.Errorf("write ACPI tables at %#x: %w", plan.Tables.Base, err)
	}
	return nil
}

// info builds hvm_start_info, the module list and the memory map, which follow
// each other from infoBase.
func (plan *Plan) info() []byte {
	modlist := uint64(infoBase) + infoSize
	memmap := modlist + uint64(len(plan.Modules))*modlistSize
	if len(plan.Modules) == 0 {
		modlist = 0
	}

	b := make([]byte, 0, mm.PageSize)
	b = le.AppendUint32(b, startMagic)
	b = le.AppendUint32(b, startVersion)
	b = le.AppendUint32(b, plan.flags)
	b = le.AppendUint32(b, uint32(len(plan.Modules)))
	b = le.AppendUint64(b, modlist)
	b = le.AppendUint64(b, uint64(plan.cmdlineAddr))
	b = le.AppendUint64(b, uint64(plan.Tables.RSDP))
	b = le.AppendUint64(b, memmap)
	b = le.AppendUint32(b, uint32(len(plan.MemoryMap)))
	b = le.AppendUint32(b, 0)

	for i := range plan.Modules {
		m := &plan.Modules[i]
		b = le.AppendUint64(b, uint64(m.Addr))
		b = le.AppendUint64(b, m.Size)
		b = le.AppendUint64(b, uint64(m.cmdline))
		b = le.AppendUint64(b, 0)
	}
	for _, e := range plan.MemoryMap {
		b = le.AppendUint64(b, uint64(e.Start))
		b = le.AppendUint64(b, e.Size)
		b = le.AppendUint32(b, uint32(e.Type))
		b = le.AppendUint32(b, 0)
	}
	return b
}

// IdentityDirectory returns the contents of the page SpecialPages.IdentPT: a
// page directory without PAE that maps all of 4 GiB onto itself in pages of
// 4 MiB (Intel SDM vol. 3, 4.3).
func IdentityDirectory() [mm.PageSize]byte {
	var page [mm.PageSize]byte
	const present, writable, user, accessed, dirty, large = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7
	for i := range uint32(mm.PageSize / 4) {
		le.PutUint32(page[4*i:], i<<22|present|writable|user|accessed|dirty|large)
	}
	return page
}
