package xlcfg

import (
	"slices"
	"strings"
)

// Disk is a virtual disk's specification (xl-disk-configuration(5)).
type Disk struct {
	// Target is a file or block device of the backend's domain; "" is an empty
	// CD drive.
	Target string `json:"target"`
	// Format is raw, qcow, qcow2, vhd or qed.
	Format string `json:"format"`
	VDev   VDev   `json:"vdev"`
	// ReadOnly and CDROM: a CD is always read-only.
	ReadOnly bool `json:"readonly,omitempty"`
	CDROM    bool `json:"cdrom,omitempty"`
	// Backend is the domain that serves it, "" domain 0.
	Backend string `json:"backend,omitempty"`
	// BackendType is phy, qdisk, standalone, or "": whichever fits. The howtos'
	// phy: sets it, file: leaves it open.
	BackendType string `json:"backendtype,omitempty"`
	// Script reads Target in its own way, "" if nothing does.
	Script string `json:"script,omitempty"`
	// Specification is what the guest sees: xen or virtio.
	Specification string `json:"specification,omitempty"`
	// DirectIOSafe, NoDiscard and Untrusted are flags.
	DirectIOSafe bool `json:"direct_io_safe,omitempty"`
	NoDiscard    bool `json:"no_discard,omitempty"`
	Untrusted    bool `json:"untrusted,omitempty"`
}

var (
	diskFormats  = []string{"raw", "qcow", "qcow2", "vhd", "qed"}
	diskBackends = []string{"phy", "qdisk", "standalone", "tap"}
	diskAccess   = []string{"r", "ro", "w", "rw"}
	diskKeys     = []string{"target", "format", "vdev", "access", "devtype", "backend", "backendtype", "script", "specification"}
	diskFlags    = []string{"cdrom", "direct-io-safe", "discard", "no-discard", "trusted", "untrusted"}
	// replication are COLO's, which nothing here has.
	replication = []string{"colo", "no-colo", "colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk"}
	// diskScripts are prefixes that name a script block-X.
	diskScripts = []string{"iscsi", "nbd", "enbd", "drbd"}
)

// ParseDisk reads one element of disk=: parameters by name, flags, and target,
// format, vdev and access by place. The old form begins with a prefix such as
// phy: or file:, which stands for the format, so that place is skipped; in it
// :cdrom may follow vdev. A non-nil error is a *SpecError.
func ParseDisk(spec string) (Disk, error) {
	d := diskParser{given: map[string]bool{}}
	if strings.TrimSpace(spec) == "" {
		return d.Disk, specErrorf(0, "the disk is empty; write 'TARGET,FORMAT,VDEV,ACCESS', such as 'debian.img,raw,xvda,w', or remove it")
	}
	for _, p := range params(spec, "target") {
		var err error
		if p.key != "" {
			err = d.named(p)
		} else {
			err = d.unnamed(p)
		}
		if err != nil {
			return d.Disk, err
		}
	}
	return d.Disk, d.complete(spec)
}

type diskParser struct {
	Disk
	given  map[string]bool // parameters, by name
	access string
	accOff int
}

// positional is the order of the parameters without names.
var positional = []string{"target", "format", "vdev", "access"}

func (d *diskParser) unnamed(p param) error {
	if slices.Contains(diskFlags, p.text) {
		return d.flag(p)
	}
	for _, key := range positional {
		if !d.given[key] {
			p.key = key
			if key == "target" {
				p = d.prefixes(p)
			}
			return d.named(p)
		}
	}
	if p.text == "" {
		return nil
	}
	return specErrorf(p.off, "%q is one part too many: target, format, vdev and access are there already", shorten(p.text))
}

func (d *diskParser) flag(p param) error {
	switch p.text {
	case "cdrom":
		d.CDROM = true
	case "direct-io-safe":
		d.DirectIOSafe = true
	default:
		no := strings.HasPrefix(p.text, "no-") || strings.HasPrefix(p.text, "un")
		if strings.HasSuffix(p.text, "discard") {
			d.NoDiscard = no
		} else {
			d.Untrusted = no
		}
	}
	return nil
}

// prefixes takes the old form's words off a target.
func (d *diskParser) prefixes(p param) param {
	for {
		word, rest, ok := strings.Cut(p.text, ":")
		switch {
		case !ok:
			return p
		case slices.Contains(diskFormats, word):
			d.Format = word
		case word == "phy":
			d.BackendType, d.Format = "phy", "raw"
		case word == "file" || word == "aio":
			d.Format = "raw"
		case word == "tap" || word == "tap2" || word == "tapdisk" || word == "ioemu":
		case slices.Contains(diskScripts, word):
			d.Script, d.Format = "block-"+word, "raw"
		default:
			return p
		}
		d.given["format"] = true
		p.text, p.off = rest, p.off+len(word)+1
	}
}

func (d *diskParser) named(p param) error {
	if d.given[p.key] && (p.key != "target" || d.Target != "") {
		return specErrorf(p.start, "%s is there twice; remove one", p.key)
	}
	d.given[p.key] = true
	if p.text == "" { // stands for the default
		return nil
	}
	var err error
	switch p.key {
	case "target":
		d.Target = p.text
	case "format":
		d.Format, err = p.word(diskFormats)
	case "vdev":
		name, cd := strings.CutSuffix(p.text, ":cdrom")
		d.CDROM = d.CDROM || cd
		name, _ = strings.CutSuffix(name, ":disk")
		d.VDev, err = parseVDev(name, p.off)
	case "access":
		if p.text == "w!" || p.text == "r!" {
			return specErrorf(p.off, "%s, sharing without a check, was xm's; write %s", p.text, p.text[:1])
		}
		d.access, err = p.word(diskAccess)
		d.accOff = p.off
	case "devtype":
		_, err = p.chosen("cdrom")
		d.CDROM = true
	case "backend":
		d.Backend = p.text
	case "backendtype":
		d.BackendType, err = p.word(diskBackends)
	case "script":
		d.Script = p.text
	case "specification":
		d.Specification, err = p.word([]string{"xen", "virtio"})
	default:
		if slices.Contains(replication, p.key) {
			return specErrorf(p.start, "%s: disks are not replicated here; remove it", p.key)
		}
		return p.badKey("disk", append(slices.Clone(diskKeys), diskFlags...))
	}
	return err
}

// word is a value that is one of words.
func (p param) word(words []string) (string, error) {
	i, err := p.chosen(words...)
	return words[i], err
}

// complete sets defaults and refuses contradictions.
func (d *diskParser) complete(spec string) error {
	switch {
	case d.VDev.Name == "":
		return specErrorf(len(spec), "the disk has no virtual device; write which one behind the format, such as ',xvda,w'")
	case d.Target == "" && !d.CDROM:
		return specErrorf(0, "the disk has no target; name a file or a device, or write cdrom for an empty drive")
	case d.CDROM && (d.access == "w" || d.access == "rw"):
		return specErrorf(d.accOff, "a CD can't be written; write r, or remove cdrom")
	case (d.BackendType == "phy" || d.BackendType == "standalone") && d.Format != "" && d.Format != "raw":
		return specErrorf(0, "backendtype=%s reads no %s; remove one of them", d.BackendType, d.Format)
	}
	d.ReadOnly = d.CDROM || d.access == "r" || d.access == "ro"
	if d.Format == "" {
		d.Format = "raw"
	}
	return nil
}
