# What each board's Makefile includes after its own variables.
COMMON   = $(FIRMWARE)/common
PROGRAMS = storm sweep
# What is built once: the port's test, the least program, and each program of yours in the board's folder.
SINGLE   = port minimal $(patsubst %.cc,%,$(filter-out $(START),$(wildcard *.cc)))
LIBRARY  = $(ROOT)/lib/page/page.cc $(ROOT)/lib/slab/slab.cc $(ROOT)/lib/port/config_stamp.cc
SOURCES  = $(START) $(COMMON)/memory.cc
HEADERS  = $(MAKEFILE_LIST) $(wildcard *.h $(FIRMWARE)/*/*.h $(FIRMWARE)/*/*/*.h) $(shell find $(ROOT)/include -name '*.h')
LEAN     = storm sweep minimal
IMAGES   = $(SINGLE:%=$(OUT)/%.elf) $(PROGRAMS:%=$(OUT)/%.elf) $(PROGRAMS:%=$(OUT)/%_stateless.elf) $(OUT)/heap.elf \
  $(LEAN:%=$(OUT)/%_lean.elf) $(PROGRAMS:%=$(OUT)/%_lean_stateless.elf) $(OUT)/heap_lean.elf
# A board whose code is wrong may run for ever: hence the timeout.
BOOT     = timeout 300 $(MACHINE) -nographic -semihosting-config enable=on,target=native -kernel

# What the stack needs at least: ../README.md says for what.
STACK_NEEDED = $(if $(filter %_debug,$(CONFIG)),4096,2048)
TO_IMAGE     = $(LINK) -Wl,--defsym=stack_needed=$(STACK_NEEDED)

vpath %.cc $(COMMON)

all: $(IMAGES)

# The whole library as one object.
$(OUT)/library.o: $(LIBRARY) $(HEADERS)
	@mkdir -p $(OUT)
	$(TARGET)g++ $(FLAGS) -r -nostdlib $(LIBRARY) -o $@

$(OUT)/%.elf: %.cc $(OUT)/library.o $(SOURCES) $(HEADERS) $(LAYOUT)
	$(TARGET)g++ $(FLAGS) -DFIRMWARE_LOCKS=nestlock::policy::PerLockByte $(TO_IMAGE) \
	  $< $(OUT)/library.o $(SOURCES) -lgcc -o $@

# The same in the lean form, each file of it.
$(OUT)/library_lean.o: $(LIBRARY) $(HEADERS)
	@mkdir -p $(OUT)
	$(TARGET)g++ $(FLAGS) -DNESTLOCK_LEAN=1 -r -nostdlib $(LIBRARY) -o $@

$(OUT)/%_lean.elf: %.cc $(OUT)/library_lean.o $(SOURCES) $(HEADERS) $(LAYOUT)
	$(TARGET)g++ $(FLAGS) -DNESTLOCK_LEAN=1 -DFIRMWARE_LOCKS=nestlock::policy::PerLockByte $(TO_IMAGE) \
	  $< $(OUT)/library_lean.o $(SOURCES) -lgcc -o $@

$(OUT)/%_lean_stateless.elf: %.cc $(SOURCES) $(HEADERS) $(LAYOUT)
	@mkdir -p $(OUT)
	$(TARGET)g++ $(FLAGS) -DNESTLOCK_LEAN=1 -DFIRMWARE_LOCKS=nestlock::testing::Stateless $(TO_IMAGE) \
	  $< $(SOURCES) $(ROOT)/lib/port/config_stamp.cc -lgcc -o $@

# What the lean form costs: lean.cc in three parts.
$(OUT)/lean_%.elf: lean.cc $(OUT)/library_lean.o $(SOURCES) $(HEADERS) $(LAYOUT)
	$(TARGET)g++ $(FLAGS) -DNESTLOCK_LEAN=1 -DFIRMWARE_PART=$* $(TO_IMAGE) $< $(OUT)/library_lean.o $(SOURCES) -lgcc -o $@
# Text of pages, and of slab beside it, as an image links them.
lean_text: $(OUT)/lean_0.elf $(OUT)/lean_1.elf $(OUT)/lean_2.elf
	@$(TARGET)size $^ | awk 'NR > 1 { text[NR] = $$1 } END { print text[3] - text[2], text[4] - text[3] }'

# The allocators over other locks than the library's own are compiled with the program.
$(OUT)/%_stateless.elf: %.cc $(SOURCES) $(HEADERS) $(LAYOUT)
	@mkdir -p $(OUT)
	$(TARGET)g++ $(FLAGS) -DFIRMWARE_LOCKS=nestlock::testing::Stateless $(TO_IMAGE) \
	  $< $(SOURCES) $(ROOT)/lib/port/config_stamp.cc -lgcc -o $@

# The locks, for those who count their instructions and bytes.
locks: $(OUT)/locks.o
	@$(TARGET)objdump -d --no-show-raw-insn $<
	@$(TARGET)nm -S -t d $<
$(OUT)/locks.o: locks.cc $(HEADERS)
	@mkdir -p $(OUT)
	$(TARGET)g++ $(FLAGS) -c $< -o $@

# make size PART="files" [FORM=lean]: text, data and bss of these as one object.
size:
	@mkdir -p $(OUT)
	@$(TARGET)g++ $(FLAGS) $(if $(FORM),-DNESTLOCK_LEAN=1) -I$(ROOT) -r -nostdlib $(PART:%=$(ROOT)/%) -o $(OUT)/part.o
	@$(TARGET)size $(OUT)/part.o | awk 'NR == 2 { print $$1, $$2, $$3 }'

# What the library wants from elsewhere.
asked_for: $(OUT)/library.o $(OUT)/library_lean.o
	@for part in $^; do $(TARGET)nm -u $$part; done | sed 's/^ *[UwW] //'

# The program in C: compiled as C99, with the C face's bodies that it calls.
C_FLAGS = $(filter-out -std=% -fno-exceptions -fno-rtti,$(FLAGS)) -std=c99
C_FACE  = $(addprefix $(ROOT)/lib/c/,c_locks.cc c_slab.cc bare/memory.cc)
$(OUT)/heap.elf: $(addprefix $(COMMON)/,heap.c freertos_port.c c_machine.cc) $(C_FACE) $(OUT)/library.o $(SOURCES) $(HEADERS) $(LAYOUT)
	$(TARGET)gcc $(C_FLAGS) -r -nostdlib $(COMMON)/heap.c $(COMMON)/freertos_port.c -o $(OUT)/heap.o
	$(TARGET)g++ $(FLAGS) -I$(ROOT) $(TO_IMAGE) $(OUT)/heap.o $(COMMON)/c_machine.cc $(C_FACE) \
	  $(OUT)/library.o $(SOURCES) -lgcc -o $@
$(OUT)/heap_lean.elf: $(addprefix $(COMMON)/,heap.c freertos_port.c c_machine.cc) $(C_FACE) $(OUT)/library_lean.o $(SOURCES) $(HEADERS) $(LAYOUT)
	$(TARGET)gcc $(C_FLAGS) -DNESTLOCK_LEAN=1 -r -nostdlib $(COMMON)/heap.c $(COMMON)/freertos_port.c -o $(OUT)/heap_lean.o
	$(TARGET)g++ $(FLAGS) -DNESTLOCK_LEAN=1 -I$(ROOT) $(TO_IMAGE) $(OUT)/heap_lean.o $(COMMON)/c_machine.cc $(C_FACE) \
	  $(OUT)/library_lean.o $(SOURCES) -lgcc -o $@

# make -s boot IMAGE=build/storm.elf
boot:
	$(BOOT) $(IMAGE)
run: $(IMAGES)
	for image in $(IMAGES); do echo "== $$image"; $(BOOT) $$image; echo "status $$?"; done
clean:
	rm -rf -- $(OUT)

.PHONY: all locks size asked_for boot run clean
