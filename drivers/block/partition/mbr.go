package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// protective is the type of the partition that keeps programs that know no GPT away.
const protective = 0xee

// mostLogical bounds the chain of extended partitions, which can lead anywhere.
const mostLogical = 60

// slot is one of a sector's four entries.
type slot struct {
	typ         byte
	first, size uint64 // logical sectors; first is relative to something
}

func slots(sector []byte) (s [4]slot, ok bool) {
	for n := range s {
		e := sector[446+n*16:]
		// The boot sector of a file system has code there.
		if e[0]&0x7f != 0 {
			return s, false
		}
		s[n] = slot{e[4], uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))}
	}
	return s, true
}

func (s slot) extended() bool { return s.typ == 0x05 || s.typ == 0x0f || s.typ == 0x85 }

// mbr takes the partitions of the first sector, and those in an extended one.
func (d *disk) mbr(sector []byte) (Table, error) {
	s, ok := slots(sector)
	if !ok {
		return Table{}, nil
	}
	t := Table{Kind: "MBR"}
	container := -1
	for n, e := range s {
		switch {
		case e.typ == 0:
		case e.extended():
			if container >= 0 {
				t.problem("partition %d is a second extended one", n+1)
				continue
			}
			container = n
		default:
			d.add(&t, n+1, e, e.first)
		}
	}
	if container < 0 {
		return t, nil
	}
	return t, d.logical(&t, s[container])
}

func (d *disk) add(t *Table, number int, e slot, first uint64) {
	t.add(Entry{Number: number, First: first * d.perBlock(), Sectors: e.size * d.perBlock(), Type: fmt.Sprintf("%02x", e.typ)}, d.sectors)
}

// logical follows the chain in an extended partition. The first entry of each sector is
// relative to that sector, the second, which leads on, to the container.
func (d *disk) logical(t *Table, container slot) error {
	at, number := container.first, 5
	for range mostLogical {
		if at < container.first || at-container.first >= container.size || at >= d.blocks() {
			t.problem("the chain of logical partitions leads to sector %d, outside of the extended one", at)
			return nil
		}
		sector := make([]byte, 512)
		if err := d.read(sector, at); err != nil {
			return err
		}
		s, ok := slots(sector)
		if !ok || !bytes.Equal(sector[510:], []byte{0x55, 0xaa}) {
			t.problem("the chain of logical partitions ends at sector %d with no table", at)
			return nil
		}
		if e := s[0]; e.typ != 0 && !e.extended() {
			if e.size > container.size || at+e.first-container.first > container.size-e.size {
				t.problem("partition %d reaches beyond the extended one", number)
			} else {
				d.add(t, number, e, at+e.first)
			}
			number++
		}
		if !s[1].extended() {
			return nil
		}
		at = container.first + s[1].first
	}
	t.problem("there are more than %d logical partitions, or their chain is a circle", mostLogical)
	return nil
}
