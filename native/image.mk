# The image (image.c): its maker, and the stage one that knows of it. Only where the distribution has a static libpython;
# everywhere else the ordinary pair is all there is, and does everything.
#
# To be called as $(eval $(call with_image,OUT,LIBEXEC,PACKAGE,AGAIN)): OUT/pyrunc and OUT/maker, for a stage two and an
# image that lie in LIBEXEC. AGAIN: what they depend on besides, FORCE for an installation, whose places are built in.

# By name: a Python without the GIL has another, and keeps in its objects which thread made them.
ARCHIVE := $(filter %/libpython3.11.a %/libpython3.13.a,$(wildcard $(call fact,ARCHIVE)))
HAS_IMAGE := $(if $(ARCHIVE),$(filter x86_64,$(shell uname -m)))
MADE := $(BUILD)/native/image

# The C library whose static twin is linked: of one source package, so an upgrade of one is of both.
LIBC := $(realpath $(shell $(CC) -print-file-name=libc.so.6))
facts_of = `stat -L -c %s $(1)`,`stat -L -c %.9Y $(1) | sed 's/\.0*\([0-9]\)/,\1/'`

# Addresses are fixed. malloc is our own: the compiler must not take it for the one it knows.
FIXED = $(FORTIFY) -fno-pie -fno-builtin-malloc -fno-builtin-calloc $(NO_CALLS) \
	-I$(call fact,INCLUDE) -I$(BUILD)/native $(DEFINES) -DIMAGE=1 -DDEBUG=0 -DLINKED_MODULES \
	-DLIBPYTHON_FACTS=$(call facts_of,$(LIBRARY)) -DLIBC_FACTS=$(call facts_of,$(LIBC))
HEADERS := image.h launch.h sys.h stage2.h heap.h dump.h report.h failures.h finish.h image.mk Makefile
COMMON := $(patsubst %,$(MADE)/%.o,linux finish json codecs heap dump frozen resume)
# Where it lies is drawn anew for each: 17.6 bits, above the program break of stage one and of the sealed program, which the
# kernel puts up to 1 GB behind them, and with the maker's heap below 2 GB, as static code wants it.
BASE = `$(PYTHON) -c 'import secrets; print(hex(0x42000000 + 4096 * secrets.randbelow(0x31000)))'`

$(MADE)/%.o: %.c $(HEADERS) $(GENERATED)
	mkdir -p $(MADE)
	$(CC) $(CFLAGS) $(FIXED) -c $< -o $@
$(MADE)/frozen.o: $(BUILD)/native/frozen.c
	mkdir -p $(MADE)
	$(CC) $(FIXED) -c $< -o $@

# libc starts in it before it has a stack guard; how much libc notes of the CPU, nm says.
$(MADE)/resume.o: resume.c $(HEADERS)
	mkdir -p $(MADE)
	$(CC) $(CFLAGS) $(FREESTANDING) `nm -S $$($(CC) -print-file-name=libc.a) 2>/dev/null | \
		awk '$$4 == "_dl_x86_cpu_features" {print "-DCPU_FEATURES=0x" $$2}'` -c $< -o $@

define with_image
$(MADE)/$(notdir $(1))-%.o: %.c $(HEADERS) $(4)
	mkdir -p $(MADE)
	$(CC) $(CFLAGS) $(FIXED) -DPACKAGE='"$(3)"' -DSTAGE2='"$(2)/stage2"' -c $$< -o $$@
$(MADE)/$(notdir $(1))-free-%.o: %.c $(HEADERS) $(4)
	mkdir -p $(MADE)
	$(CC) $(CFLAGS) $(FREESTANDING) $(call places,$(2)/stage2) -c $$< -o $$@
$(MADE)/$(notdir $(1))-leave.o: launch.c $(HEADERS) $(4)
	mkdir -p $(MADE)
	$(CC) $(CFLAGS) $(FREESTANDING) $(call places,$(2)/stage2) -DFROM_IMAGE -c $$< -o $$@
$(MADE)/$(notdir $(1))-sealed: $(patsubst %,$(MADE)/$(notdir $(1))-free-%.o,sealed map launch)
	$(CC) -static -nostdlib -Wl,-z,noseparate-code,--build-id=none -s $$^ -o $$@
$(1)/pyrunc: stub.c launch.c enter.c $(MADE)/$(notdir $(1))-sealed $(MADE)/$(notdir $(1))-free-map.o $(HEADERS) $(4)
	mkdir -p $(1)
	for file in launch enter; do \
		$(CC) $(CFLAGS) $(FREESTANDING) $(call places,$(2)/stage2) -DLIBC='"$(LIBC)"' -DIMAGE_PATH='"$(2)/image"' \
		-DSEALED='"$(MADE)/$(notdir $(1))-sealed"' -c $$$$file.c -o $(MADE)/$(notdir $(1))-one-$$$$file.o || exit 1; done
	$(CC) $(CFLAGS) $(call places,$(2)/stage2) -static -Wl,-e,stage1 stub.c $(MADE)/$(notdir $(1))-one-launch.o $(MADE)/$(notdir $(1))-one-enter.o \
		$(MADE)/$(notdir $(1))-free-map.o -s -o $$@.new && mv $$@.new $$@
$(1)/maker: $(COMMON) $(MADE)/$(notdir $(1))-stage2.o $(MADE)/$(notdir $(1))-image.o $(MADE)/$(notdir $(1))-leave.o layout.ld
	$(CC) -static -no-pie -Wl,-S -Wl,-Ttext-segment=$(BASE) $$(filter %.o,$$^) -Wl,-T,layout.ld $(ARCHIVE) -lm \
		-o $$@.new 2>$$@.log && mv $$@.new $$@ || { rm -f $$@; echo "this libpython cannot be linked with: see $$@.log"; }
endef
