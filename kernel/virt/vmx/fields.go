// Package vmx is Intel's virtualization behind virt's interface.
//
// Reference: Intel SDM volume 3 (325384), chapters 24 to 28 and appendices A to
// C. Encodings, controls and exits are pure; what touches the processor has the
// build tag tamago.
package vmx

// VMCS field encodings (Intel SDM vol. 3, appendix B).
const (
	fIOBitmapA     = 0x2000
	fIOBitmapB     = 0x2002
	fMSRBitmap     = 0x2004
	fTSCOffset     = 0x2010
	fEPTP          = 0x201a
	fGuestPhys     = 0x2400
	fLinkPointer   = 0x2800
	fGuestDebugCtl = 0x2802
	fGuestPAT      = 0x2804
	fGuestEFER     = 0x2806
	fHostPAT       = 0x2c00
	fHostEFER      = 0x2c02

	fPinControls   = 0x4000
	fProcControls  = 0x4002
	fExceptions    = 0x4004
	fExitControls  = 0x400c
	fEntryControls = 0x4012
	fEntryEvent    = 0x4016
	fEntryCode     = 0x4018
	fProc2Controls = 0x401e
	fError         = 0x4400
	fExitReason    = 0x4402
	fExitEvent     = 0x4404
	fExitCode      = 0x4406
	fVectoring     = 0x4408
	fVectoringCode = 0x440a
	fInsnLength    = 0x440c
	fInsnInfo      = 0x440e

	fGuestES         = 0x0800 // then CS, SS, DS, FS, GS, LDTR, TR, 2 apart
	fGuestESLimit    = 0x4800 // the same, then GDTR, IDTR
	fGuestESAttr     = 0x4814
	fGuestESBase     = 0x6806 // the same as the limits
	fInterruptible   = 0x4824
	fActivity        = 0x4826
	fGuestSysenterCS = 0x482a
	fHostSysenterCS  = 0x4c00

	fCR0Mask          = 0x6000
	fCR4Mask          = 0x6002
	fCR0Shadow        = 0x6004
	fCR4Shadow        = 0x6006
	fQualification    = 0x6400
	fGuestCR0         = 0x6800
	fGuestCR3         = 0x6802
	fGuestCR4         = 0x6804
	fGuestDR7         = 0x681a
	fGuestRSP         = 0x681c
	fGuestRIP         = 0x681e
	fGuestRFLAGS      = 0x6820
	fPendingDebug     = 0x6822
	fGuestSysenterESP = 0x6824
	fGuestSysenterEIP = 0x6826

	fHostES          = 0x0c00
	fHostCS          = 0x0c02
	fHostSS          = 0x0c04
	fHostTR          = 0x0c0c
	fHostCR0         = 0x6c00
	fHostCR3         = 0x6c02
	fHostCR4         = 0x6c04
	fHostFSBase      = 0x6c06
	fHostGSBase      = 0x6c08
	fHostTRBase      = 0x6c0a
	fHostGDTR        = 0x6c0c
	fHostIDTR        = 0x6c0e
	fHostSysenterESP = 0x6c10
	fHostSysenterEIP = 0x6c12
	fHostRIP         = 0x6c16
)
