package shell

import (
	"context"
	"errors"
	"strconv"
	"time"

	"nidus/rpc/control"
)

// endOptions are those of what ends the host.
var endOptions = []option{
	{short: "t", long: "maxwait", value: "SECONDS", help: "how long each domain may take, instead of the boot option xendomains_stop_maxwait"},
	{short: "F", long: "force", help: "destroy the domains at once; so does asking a second time"},
}

func powerOff(ctx context.Context, c *call) error { return c.endHost(ctx, c.Plane.PowerOff) }

func hostReboot(ctx context.Context, c *call) error { return c.endHost(ctx, c.Plane.HostReboot) }

// endHost asks for the host's end and follows it until the host is about to do it. On
// the host's own console the log tells the same.
func (c *call) endHost(ctx context.Context, do func(context.Context, control.HostEndOptions) (control.HostEndStream, error)) error {
	opt := control.HostEndOptions{Force: c.opt("F", "force")}
	if s, ok := c.optValue("t", "maxwait"); ok {
		const most = int(control.MaxStopLimit / time.Second)
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > most {
			return c.usageError("%q is no time for a domain to power off, 1 to %d seconds", s, most)
		}
		opt.Limit = time.Duration(n) * time.Second
	}
	steps, err := do(ctx, opt)
	if err != nil {
		return err
	}
	defer steps.Close()
	for {
		s, err := steps.Next(ctx)
		switch code := control.CodeOf(err); {
		case err == nil:
		case ctx.Err() != nil:
			return errors.New("interrupted; the host goes on to its end. Asked again, it destroys the domains that are left at once")
		case errors.Is(err, context.Canceled), code == control.ErrDisconnected:
			return control.Errorf(control.ErrDisconnected, "the control plane has ended: %v. The next one goes on with the host's end; \"dmesg\" shows how far it is", err)
		default:
			return err
		}
		if !c.prompting {
			c.printf("%s\n", printable(s.Text))
		}
		if s.Kind == control.HostEndNow {
			return nil
		}
	}
}
