include $(sort $(wildcard $(BR2_EXTERNAL_LENSCAP_PATH)/package/*/*.mk))
