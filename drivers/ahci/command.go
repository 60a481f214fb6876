package ahci

import (
	"fmt"

	"nidus/drivers/block"
	"nidus/mm"
)

// fis is a command as the disk gets it (SATA 3.2, section 10.5.5: Register, host to device).
type fis struct {
	command  uint8
	features uint16
	lba      uint64 // 48 bits
	device   uint8
	count    uint16
}

// write puts the command at the begin of a table.
func (f *fis) write(table mm.Page) {
	table.Store32(0, fisRegisterToDev|fisCommand<<8|uint32(f.command)<<16|uint32(f.features&0xff)<<24)
	table.Store32(4, uint32(f.lba&0xffffff)|uint32(f.device)<<24)
	table.Store32(8, uint32(f.lba>>24&0xffffff)|uint32(f.features>>8)<<24)
	table.Store32(12, uint32(f.count))
	table.Store32(16, 0)
}

// prd puts entry i of the scatter-gather list into a table (section 4.2.3.3): n bytes, even.
func prd(table mm.Page, i int, addr uint64, n uint32) {
	at := atPRDT + i*prdSize
	table.Store64(at, addr)
	table.Store32(at+8, 0)
	table.Store32(at+12, n-1)
}

// header puts a command into the list (section 4.2.2).
func (p *port) header(slot uint8, first uint32, table mm.MFN) {
	list, at := p.hba.host.Page(p.frame), int(slot)*headerSize
	a := p.hba.host.DMA(table)
	list.Store32(at, first)
	list.Store32(at+4, 0) // bytes that were moved
	list.Store32(at+8, uint32(a))
	list.Store32(at+12, uint32(a>>32))
}

// describe fills a slot's table for its next command.
func (p *port) describe(slot uint8) {
	f, d := &p.flying[slot], p.disk
	m := p.tables[slot]
	if p.drive != nil {
		f.header = p.packet(f, m)
		return
	}
	table := p.hba.host.Page(m)
	var x fis
	prds, dir := 0, uint32(0)
	switch {
	case f.flush:
		x.command = ataFlush
	case f.r.Op == block.Discard:
		f.step = p.ranges(table, f.r.Sector+f.sectors, f.r.Sectors-f.sectors)
		prd(table, 0, p.hba.host.DMA(m)+atBuffer, bufferSize)
		x = fis{command: ataDataSet, features: dataSetTrim, device: deviceLBA, count: 1}
		prds, dir = 1, headerWrite
	default:
		bytes := uint32(0)
		for i, s := range f.r.Segments {
			prd(table, i, p.hba.host.DMA(s.Frame)+uint64(s.Off), uint32(s.Len))
			bytes += uint32(s.Len)
		}
		prds = len(f.r.Segments)
		if f.r.Op != block.Read {
			dir = headerWrite
		}
		x = d.transfer(f.r.Op, p.queued, slot, f.r.Sector>>d.shift, bytes/d.info.SectorSize)
	}
	x.write(table)
	f.header = fisWords | dir | uint32(prds)<<headerPRDs
}

// transfer is the command that reads or writes n sectors, at most 65535.
func (d *Disk) transfer(op block.Op, queued bool, slot uint8, lba uint64, n uint32) fis {
	x := fis{lba: lba, device: deviceLBA, count: uint16(n)}
	fua := op == block.WriteFUA && d.fua
	if queued {
		if x.command = ataWriteQueued; op == block.Read {
			x.command = ataReadQueued
		}
		x.features, x.count = x.count, uint16(slot)<<3
		if fua {
			x.device |= deviceFUA
		}
		return x
	}
	switch x.command = ataWrite; {
	case op == block.Read:
		x.command = ataRead
	case fua:
		x.command = ataWriteFUA
	}
	return x
}

// ranges fills a table's buffer with what is to be discarded, and returns how much of it
// that is (ACS-3, section 7.5.3.2): entries of 48 bits of address and 16 of length.
func (p *port) ranges(table mm.Page, sector, sectors uint64) (took uint64) {
	table.Zero(atBuffer, bufferSize)
	lba, left := sector>>p.disk.shift, sectors>>p.disk.shift
	begin := left
	for i := 0; i < bufferSize/8 && left > 0; i++ {
		n := min(left, 0xffff)
		table.Store64(atBuffer+8*i, lba|n<<48)
		lba, left = lba+n, left-n
	}
	return (begin - left) << p.disk.shift
}

// exec does a command that is not queued and reads 512 bytes, which are in the page that
// it returns from atBuffer on; it waits for it. Preconditions: the port runs, the disk is
// idle, and the state is not working.
func (p *port) exec(x fis, reads bool) (mm.Page, error) {
	table := p.hba.host.Page(p.own)
	table.Clear()
	x.write(table)
	first := uint32(fisWords)
	if reads {
		prd(table, 0, p.hba.host.DMA(p.own)+atBuffer, bufferSize)
		first |= 1 << headerPRDs
	}
	p.header(0, first, p.own)
	p.store(pxIS, dead)
	p.store(pxCI, 1)
	const bad = isTask | isFatal
	ended := until(p.hba.limits.exec, func() bool { return p.load(pxCI)&1 == 0 || p.load(pxIS)&bad != 0 })
	t := p.load(pxTFD)
	switch {
	case p.hba.gone():
		return table, block.ErrGone
	case !ended:
		return table, fmt.Errorf("command %#x: %w", x.command, ErrTimeout)
	case p.load(pxIS)&bad != 0 || t&(tfdError|tfdFault) != 0:
		return table, fmt.Errorf("command %#x: %w", x.command, statusOf(t))
	}
	return table, nil
}

// statusOf makes an error of the task file.
func statusOf(task uint32) Status { return Status{uint8(task), uint8(task >> 8)} }
